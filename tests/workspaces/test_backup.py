"""What a workspace held is there again in another one, made of one archive."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from stood import FAST, Stood, until

from tandem.workspace import Place
from tasks.backup import WRITERS, back_up
from tasks.containers import engine
from tasks.secrets import make_secrets

GIVEN = [f"--set={name}={value}" for name, value in FAST.items() if name != "alerts"]

MANY = """
import os, time
try:
    for _ in range(200):
        os.fork() or (time.sleep(2), os._exit(0))
except BlockingIOError as exc:
    print(exc)
"""
"""More processes than a workspace may have."""


def told(stood: Stood) -> list[str]:
    """Give what both must say alike: versions but for their age, traffic, and how much was predicted."""
    models = [line.split()[:6] for line in stood.run("platform", "tandem", "models").splitlines()]
    predicted = stood.run(
        "platform", "tandem", "log", "--format", "csv", "SELECT id, score FROM predictions ORDER BY id"
    )
    return [str(models), stood.run("platform", "cat", "var/serving/traffic.json"), predicted]


@pytest.fixture
def group() -> Iterator[Path]:
    """A group of processes that may be so and so many, as an operator sets one up for a workspace."""
    if engine().info()["CgroupDriver"] != "cgroupfs":
        pytest.skip("the engine's groups of processes are systemd's")
    controllers = Path("/sys/fs/cgroup")
    found = (controllers / "pids" if (controllers / "pids").is_dir() else controllers) / "tandem-tested"
    found.mkdir()
    yield found
    for each in [path for path in sorted(found.rglob("*"), reverse=True) if path.is_dir()]:
        each.rmdir()
    found.rmdir()


def test_a_workspace_is_brought_back_from_its_archive(approved: Stood, group: Path, tmp_path: Path) -> None:
    prod, within = approved, f'--set=sizes={{cgroup_parent="/{group.name}"}}'
    archive = tmp_path / "prod.tar"
    prod.run("platform", "tandem", "keys", "remove", "shop", ok=False)
    shop = prod.run("platform", "tandem", "keys", "add", "shop").strip()
    before = told(prod)
    done = prod.command("backup", str(archive), sets=False)
    assert done.returncode == 0, done.stderr
    rehearsal = Stood("rehearsal", Place("rehearsal", prod.place.var))
    own_keys = (rehearsal.place.key, rehearsal.place.secrets / "prometheus" / "key")
    make_secrets(rehearsal.place)
    for own in own_keys:
        own.write_text(f"{own.read_text().strip()}\n")  # as `tandem keys add` prints it
    try:
        done = rehearsal.command("restore", str(archive), *GIVEN, within, sets=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert told(rehearsal) == before
        assert rehearsal.run("worker", "cat", "var/pseudonyms.key") == prod.run("worker", "cat", "var/pseudonyms.key")
        key = {"authorization": f"Bearer {shop}"}  # clients are let in as they were
        with rehearsal.client as client:
            asked = partial(client.post, "/v1/predict", json=rehearsal.example, headers=key, timeout=5)
            until(lambda: asked().status_code == 200, "it answers: each replica has answered a golden request")
            for own in own_keys:
                told_by = client.get("/metrics", headers={"authorization": f"Bearer {own.read_text().strip()}"})
                assert told_by.status_code == 200, "who looks after it has keys of its own"
        said = rehearsal.run("worker", "env", "TMPDIR=/srv/tandem/var", "tandem", "verify", "champion")
        assert said.splitlines()[-1] == "identical"
        (group / "pids.max").write_text(str(int((group / "pids.current").read_text()) + 100))
        assert "Resource temporarily unavailable" in rehearsal.run("worker", "python3", "-c", MANY)
    finally:
        assert rehearsal.command("down", "--yes", sets=False).returncode == 0


def all_run(stood: Stood) -> bool:
    return set(WRITERS) <= stood.containers().keys()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGHUP])
def test_a_backup_that_is_told_to_end_starts_all_again(sent: signal.Signals, prod: Stood, tmp_path: Path) -> None:
    until(lambda: prod.command("status", sets=False).returncode == 0, "all are well")
    words = [sys.executable, "-m", "flows.cli", "workspace", "backup", "prod", str(tmp_path / "prod.tar")]
    with subprocess.Popen(words, cwd=ROOT, env=os.environ | {"TANDEM_VAR": str(prod.place.var)}) as backup:
        until(lambda: not all_run(prod), "something was stopped")
        backup.send_signal(sent)
        assert backup.wait(120) == 128 + sent
    assert all_run(prod)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk that no backup has room on."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)  # noqa: S607
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def test_a_disk_without_room_is_told_before_anything_is_stopped(prod: Stood, small: Path) -> None:
    before = {name: each.attrs["State"]["StartedAt"] for name, each in prod.containers().items()}
    done = prod.command("backup", str(small / "prod.tar"), sets=False)
    assert done.returncode == 1
    assert "free some, or write it elsewhere" in done.stderr
    assert {name: each.attrs["State"]["StartedAt"] for name, each in prod.containers().items()} == before


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_stopped(
    prod: Stood, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.backup._check_room", lambda *_: None)
    with pytest.raises(OSError, match="No space left on device"):
        back_up(prod.place, small / "prod.tar")
    assert all_run(prod)
    assert list(small.iterdir()) == []


def test_a_damaged_archive_fills_nothing(prod: Stood, tmp_path: Path) -> None:
    archive = tmp_path / "prod.tar"
    assert prod.command("backup", str(archive), sets=False).returncode == 0
    with archive.open("r+b") as file:
        file.seek(archive.stat().st_size // 2)
        file.write(b"damaged")
    rehearsal = Stood("rehearsal", Place("rehearsal", prod.place.var))
    done = rehearsal.command("restore", str(archive), sets=False)
    assert done.returncode == 1
    assert "is not what its manifest says" in done.stderr


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_restore_that_is_ended_leaves_nothing_that_is_in_its_way(
    sent: signal.Signals, prod: Stood, tmp_path: Path
) -> None:
    archive, rehearsal = tmp_path / "prod.tar", Stood("rehearsal", Place("rehearsal", prod.place.var))
    assert prod.command("backup", str(archive), sets=False).returncode == 0

    def filled() -> list[Any]:
        found: list[Any] = engine().volumes.list(filters={"name": "tandem-rehearsal-"})
        return found

    with rehearsal.begin("restore", str(archive), sets=False) as restoring:
        until(filled, "a volume is being filled", 60)
        restoring.send_signal(sent)
        restoring.communicate()
    if sent == signal.SIGKILL:
        assert rehearsal.command("down", "--yes", sets=False).returncode == 0
    else:
        assert restoring.returncode == 128 + sent
        assert list(tmp_path.iterdir()) == [archive]
    assert filled() == []
    assert not engine().containers.list(all=True, filters={"name": "tandem-rehearsal-"})


def test_what_is_read_whole_is_not_changed_meanwhile(prod: Stood, tmp_path: Path) -> None:
    with prod.begin("backup", str(tmp_path / "prod.tar"), sets=False) as backup:
        until(lambda: not all_run(prod), "something was stopped")
        told = [prod.command("up"), prod.command("backup", str(tmp_path / "other.tar"), sets=False)]
        said, _ = backup.communicate()
    assert backup.returncode == 0, said
    assert [each.returncode for each in told] == [6, 6]
    assert all("another change is going on in this workspace" in each.stderr for each in told)
    assert all_run(prod)


def test_what_stands_is_not_filled(prod: Stood, tmp_path: Path) -> None:
    done = prod.command("restore", str(tmp_path / "nothing.tar"), sets=False)
    assert done.returncode == 1
    assert "has volumes" in done.stderr
