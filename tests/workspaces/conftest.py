"""Two workspaces, stood up for real on this machine's Docker engine, and taken down in the end."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT
from stood import KEEP, Stood, docker, until

from tandem.errors import MissingError
from tandem.settings import Settings
from tandem.workspace import READERS, Place
from tasks.containers import NAMED, engine


@pytest.fixture(scope="session")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the workspaces' state and secrets lie: beside those of people, with the images that they built."""
    try:
        standing = engine().containers.list(all=True, filters={"label": NAMED})
        found = Place("images", Settings().var).locked
    except MissingError as exc:
        pytest.skip(f"workspaces are not stood up: {exc}")
    kept = ROOT / "var" / "tested"
    folder = kept if KEEP in os.environ else tmp_path_factory.mktemp("var")
    if standing and not (folder / "workspaces").is_dir():
        pytest.skip("workspaces stand on this engine already: `make down ENV=dev`, `make down ENV=prod`")
    (folder / "workspaces").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found, folder / "workspaces" / found.name)
    if (landing := ROOT / "var" / "landing").is_dir() and not (folder / "landing").exists():
        shutil.copytree(landing, folder / "landing")  # else `make up` fetches what is pinned
    return folder


@pytest.fixture(scope="session")
def both(var: Path) -> Iterator[Mapping[str, Stood]]:
    """Dev and prod, stood up side by side: both train at once."""
    found = {name: Stood(name, Place(name, var)) for name in ("dev", "prod")}
    with ThreadPoolExecutor() as side_by_side:
        for done in side_by_side.map(lambda each: each.command("up"), found.values()):
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
        yield found
        if KEEP not in os.environ:
            for ended in side_by_side.map(lambda each: each.command("down", "--yes", sets=False), found.values()):
                assert ended.returncode == 0, ended.stdout[-3000:]
            assert [each.containers() for each in found.values()] == [{}, {}]


@pytest.fixture(scope="session")
def dev(both: Mapping[str, Stood]) -> Stood:
    return both["dev"]


@pytest.fixture(scope="session")
def prod(both: Mapping[str, Stood]) -> Stood:
    return both["prod"]


@pytest.fixture(scope="session")
def approver(prod: Stood, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person whose word counts in prod."""
    key = tmp_path_factory.mktemp("keys") / "ada"
    if not list((prod.place.secrets / "trust").glob("*.pub")):
        subprocess.run([sys.executable, "-m", "flows.cli", "signer", "new", str(key)], check=True)
        public = prod.place.secrets / "trust" / "ada.pub"
        public.write_bytes(key.with_name("ada.pub").read_bytes())
        os.chown(public, READERS["trust"], READERS["trust"])
        public.chmod(0o400)
    return key


@pytest.fixture(scope="session")
def approved(prod: Stood, approver: Path) -> Stood:
    """Prod, once its first bundle was approved; until then it takes no traffic."""
    until(prod.has_published, "the worker trained and published")
    if "champion" not in prod.models():
        assert not prod.answers()
        refused = prod.run("platform", "tandem", "promote", "1", "--as", "champion", "--reason", "too early", ok=False)
        assert "approv" in refused
        words = ["tandem", "attest", "1", "--as", "approval", "--key", "/dev/stdin", "--reason", "seen"]
        docker("exec", "-i", "tandem-prod-platform", *words, given=approver.read_bytes())
        prod.run("platform", "tandem", "promote", "1", "--as", "champion", "--reason", "approved")
    until(prod.answers, "prod answers", 60)
    return prod


@pytest.fixture(params=["dev", "prod"])
def each(request: pytest.FixtureRequest) -> Stood:
    found: Stood = request.getfixturevalue(request.param)
    return found
