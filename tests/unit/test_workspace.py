"""What the words of a workspace say before an engine is asked; all else is in tests/workspaces."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from conftest import ROOT
from stood import until
from typer.testing import CliRunner

from flows.cli import app
from tandem.errors import ArchiveError, BusyError, ConflictError, MissingError
from tandem.files import sha256_of, write_json
from tandem.schedule import alone
from tandem.workspace import Place
from tasks.backup import MANIFEST, PARTS, opened
from tasks.terraform import build_images, outputs, terraform

ECHO = f"""#!{sys.executable}
import json, os, sys
keys = ("TF_VAR_docker_host", "TF_WORKSPACE", "TF_DATA_DIR", "TF_IN_AUTOMATION")
keys += ("TF_VAR_base", "TF_VAR_content", "TF_VAR_revision", "TF_VAR_servers")
with open({{log!r}}, "a") as log:
    log.write(json.dumps([sys.argv[1:], {{{{key: os.environ[key] for key in keys if key in os.environ}}}}]) + "\\n")
if sys.argv[2] == "output":
    print(json.dumps({{{{"images": {{{{"value": {{{{"serving": "sha256:1"}}}}}}}}}}}}))
sys.exit({{code}} if sys.argv[2] == {{fails!r}} else 0)
"""


class Echo:
    """Something called terraform that writes down what it was told, and may fail at a verb."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.own, self.log = folder / "terraform", folder / "log"
        monkeypatch.setenv("PATH", str(folder), prepend=":")
        monkeypatch.chdir(ROOT)
        self.fails_at("", 0)

    def fails_at(self, verb: str, code: int) -> None:
        self.own.write_text(ECHO.format(log=str(self.log), code=code, fails=verb))
        self.own.chmod(0o755)

    @property
    def told(self) -> list[tuple[list[str], dict[str, str]]]:
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()]


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Echo:
    (tmp_path / "bin").mkdir()
    return Echo(tmp_path / "bin", monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place("dev", tmp_path / "var")
    write_json(found.folder.parent / "images.tfvars.json", {})
    return found


def test_a_verb_is_told_where_state_and_variables_are(echo: Echo, place: Place) -> None:
    assert terraform(place, "plan", "-detailed-exitcode") == 0
    (init, unnamed), (select, _), (plan, environment) = echo.told
    assert init[1:] == ["init", "-input=false", f"-backend-config=workspace_dir={place.folder.parent}"]
    assert "TF_WORKSPACE" not in unnamed, "one that is not there yet could not be chosen"
    assert select[1:] == ["workspace", "select", "-or-create=true", "dev"]
    assert plan[1:3] == ["plan", "-input=false"]
    assert {f"-var-file={place.variables()}", f"-var-file={place.locked}", "-detailed-exitcode"} < set(plan)
    assert environment["TF_WORKSPACE"] == "dev"
    assert environment["TF_DATA_DIR"] == str(place.folder / "terraform")


@pytest.mark.parametrize(("verb", "code", "after"), [("init", 1, 1), ("workspace", 1, 2), ("plan", 2, 3)])
def test_its_exit_code_is_passed_on(verb: str, code: int, after: int, echo: Echo, place: Place) -> None:
    echo.fails_at(verb, code)
    assert terraform(place, "plan") == code
    assert len(echo.told) == after, "nothing is asked of who could not begin"


@pytest.mark.parametrize(("given", "named"), [(None, "unix:///var/run/docker.sock"), ("tcp://a:1", "tcp://a:1")])
def test_the_engine_is_the_one_that_docker_means(
    given: str | None, named: str, echo: Echo, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", given) if given else monkeypatch.delenv("DOCKER_HOST", raising=False)
    terraform(place, "plan")
    assert {environment["TF_VAR_docker_host"] for _, environment in echo.told} == {named}


def test_images_are_locked_by_what_was_built(echo: Echo, place: Place) -> None:
    path = build_images(place, "base:1")
    assert json.loads(path.read_text()) == {"images": {"serving": "sha256:1"}}
    applied = next(environment for words, environment in echo.told if words[1] == "apply")
    assert applied["TF_VAR_base"] == "base:1"
    for name, paths in {"revision": [], "servers": ["infra/docker"]}.items():
        last = [which("git") or "", "log", "-1", "--format=%H", "--", *paths]
        commit = subprocess.run(last, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
        assert applied[f"TF_VAR_{name}"].removesuffix("-dirty") == commit
    assert len(applied["TF_VAR_content"]) == 64


def test_images_that_cannot_be_built_lock_nothing(echo: Echo, place: Place) -> None:
    echo.fails_at("apply", 1)
    with pytest.raises(MissingError, match="terraform ended with 1"):
        build_images(place, None)
    assert json.loads(place.locked.read_text()) == {}


def test_outputs_that_cannot_be_read_are_told(echo: Echo, place: Place) -> None:
    echo.fails_at("output", 1)
    with pytest.raises(MissingError, match="terraform ended with 1"):
        outputs(place)


SLOW = """#!/bin/bash
[ "$2" = plan ] || exit 0
trap 'sleep 1; echo written > {state}; exit 1' INT
echo begun > {state}
while :; do read -t 0.1 <> <(:); done
"""
"""Something called terraform that ends by itself, a while after it was told to."""
PLAN = "from pathlib import Path; from tandem.workspace import Place; from tasks.terraform import terraform; terraform(Place('dev', Path({!r})), 'plan')"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_waits_until_terraform_has(sent: signal.Signals, echo: Echo, place: Place) -> None:
    state = echo.own.with_name("state")
    echo.own.write_text(SLOW.format(state=state))
    with subprocess.Popen([sys.executable, "-c", PLAN.format(str(place.var))], cwd=ROOT) as planning:
        until(state.is_file, "it began", 60)
        for _ in range(2):  # as a terminal and make both pass it on
            planning.send_signal(sent)
        assert planning.wait(60) == 128 + sent
    assert state.read_text() == "written\n"


def test_who_left_the_terminal_as_nohup_has_it_goes_on(echo: Echo, place: Place) -> None:
    state = echo.own.with_name("state")
    echo.own.write_text(SLOW.format(state=state))
    words = ["nohup", sys.executable, "-c", PLAN.format(str(place.var))]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as planning:
        until(state.is_file, "it began", 60)
        planning.send_signal(signal.SIGHUP)
        planning.send_signal(signal.SIGTERM)
        assert planning.wait(60) == 128 + signal.SIGTERM
    assert state.read_text() == "written\n"


def test_a_workspace_that_the_shell_names_is_nobodys(echo: Echo, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_WORKSPACE", "prod")
    terraform(place, "plan")
    assert [environment.get("TF_WORKSPACE") for _, environment in echo.told] == [None, None, "dev"]


def test_without_terraform_it_is_told_where_to_have_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(MissingError, match=r"terraform is not installed.*https://"):
        terraform(place, "plan")


@pytest.mark.parametrize("verb", ["up", "plan", "down", "backup", "restore", "status"])
@pytest.mark.parametrize("name", ["pord", "../x", "../terraform/dev"])
def test_a_workspace_that_nobody_described_is_told_before_anything_is_made(
    verb: str, name: str, echo: Echo, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TANDEM_VAR", str(place.var))
    before = sorted(place.var.rglob("*"))
    words = [verb, name, *(["prod.tar"] if verb in {"backup", "restore"} else [])]
    with pytest.raises(MissingError, match=r"\.tfvars does not exist; there are dev, prod, rehearsal"):
        CliRunner().invoke(app, ["workspace", *words], catch_exceptions=False)
    assert sorted(place.var.rglob("*")) == before
    assert not echo.log.exists()


@pytest.fixture
def ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whose containers were ended; none stand, until a test says so."""
    found: list[str] = []
    monkeypatch.setenv("TANDEM_VAR", str(place.var))
    monkeypatch.setattr("flows.workspace.end", lambda each: found.append(each.name))
    monkeypatch.setattr("flows.workspace.clear", lambda _: None)
    monkeypatch.setattr("flows.workspace.standing", lambda _: [])
    return found


def down(given: str = "y\n") -> Any:  # noqa: ANN401 - Click's, which Typer has a copy of
    return CliRunner().invoke(app, ["workspace", "down", "dev"], input=given)


def test_a_workspace_is_not_taken_away_unasked(echo: Echo, ended: list[str]) -> None:
    done = down("n\n")
    assert done.exit_code == 1
    assert "All data of workspace dev will be gone" in done.output
    assert not echo.log.exists()
    assert ended == []
    assert down().exit_code == 0
    assert ended == ["dev"]
    assert echo.told[-1][0][1] == "destroy"


@pytest.mark.parametrize("state", [None, {"resources": []}])
def test_what_was_stood_up_from_elsewhere_is_not_touched(
    state: object, echo: Echo, place: Place, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.workspace.standing", lambda _: [{"container": "tandem-dev-gateway"}])
    if state:
        write_json(place.folder / "terraform.tfstate", state)
    done = down()
    assert isinstance(done.exception, ConflictError)
    assert ended == []
    assert "destroy" not in {words[1] for words, _ in echo.told}
    write_json(place.folder / "terraform.tfstate", {"resources": ["its own"]})
    assert down().exit_code == 0
    assert ended == ["dev"]


def test_who_comes_while_it_is_changed_is_sent_away(echo: Echo, place: Place, ended: list[str]) -> None:
    with alone(place.folder, "change"):
        done = down()
    assert isinstance(done.exception, BusyError)
    assert ended == []
    assert not echo.log.exists()


@pytest.mark.parametrize("verb", ["init", "workspace"])
def test_nothing_is_ended_by_who_cannot_go_on(verb: str, echo: Echo, ended: list[str]) -> None:
    echo.fails_at(verb, 1)
    assert down().exit_code == 1
    assert ended == []


def test_nothing_is_ended_without_images(echo: Echo, place: Place, ended: list[str]) -> None:
    place.locked.unlink()
    assert isinstance(down().exception, MissingError)
    assert ended == []
    assert not echo.log.exists()


def archive(folder: Path) -> Path:
    """A backup as `back_up` writes it, of small parts."""
    inside = folder / "inside"
    inside.mkdir()
    for part in PARTS:
        (inside / part).write_text(part)
    parts = {part: sha256_of(inside / part) for part in PARTS}
    write_json(inside / MANIFEST, {"of": "prod", "parts": parts})
    with tarfile.open(folder / "prod.tar", "w") as target:
        for each in sorted(inside.iterdir()):
            target.add(each, each.name)
    return folder / "prod.tar"


def test_a_backup_is_held_against_its_manifest(tmp_path: Path) -> None:
    assert opened(archive(tmp_path), tmp_path / "out")["of"] == "prod"


def test_a_damaged_part_of_a_backup_is_named(tmp_path: Path) -> None:
    source = archive(tmp_path)
    source.write_bytes(source.read_bytes().replace(b"mlflow.tar" + b"\0" * 502, b"damaged..." + b"\0" * 502))
    with pytest.raises(ArchiveError, match=r"damaged: mlflow\.tar is not what its manifest says"):
        opened(source, tmp_path / "out")


def test_another_archive_is_no_backup(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w"):
        pass
    with pytest.raises(ArchiveError, match="no backup of a workspace"):
        opened(tmp_path / "x.tar", tmp_path / "out")
