"""What tests of parts that work together start from."""

import sys
from pathlib import Path

import dataframely as dy
import polars as pl
import pytest
from commands import Tandem
from conftest import Workspace
from placed import Place, traffic
from published import opened, put_in

import tasks.ingest
from flows import cli
from flows.promote import promote
from flows.sync import sync
from tandem.bundle import Bundle
from tandem.problem import Source, load_problem
from tandem.registry import Registry
from tandem.settings import Settings
from tasks.reading import read_raw
from tasks.snapshots import Knowledge, write_due


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The raw files that are read from here on, each by its source and digest."""
    seen: list[str] = []

    def seeing(path: Path, source: Source, contract: type[dy.Schema]) -> pl.DataFrame:
        seen.append(f"{source.name} {path.name}")
        return read_raw(path, source, contract)

    monkeypatch.setattr(tasks.ingest, "read_raw", seeing)
    return seen


@pytest.fixture
def ingested(landed: Workspace) -> Workspace:
    landed.run("ingest")
    return landed


@pytest.fixture
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(scope="module")
def snapshots(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the snapshots of the last two ticks that the bundle may know."""
    folder, found = tmp_path_factory.mktemp("snapshots"), Bundle.open(built.data / "bundle")
    write_due(Knowledge(load_problem("parcels"), built.data / "facts", found.spec.grid, found.as_of), folder, 2)
    return folder


@pytest.fixture
def no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish from a folder that is no checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def registry(tracked: Settings) -> Registry:
    return opened(tracked)


@pytest.fixture
def place(registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path) -> Place:
    put_in(registry, bundle)
    promote(registry, "1", "champion", None, "the first")
    assert sync(registry, tracked).reason == ""
    beside = {"TANDEM_VAR": str(tracked.var), "TANDEM_TRACKING_URI": tracked.tracking}
    return Place(registry, tracked, bundle, traffic(tracked), tmp_path, beside)


@pytest.fixture
def tandem(built: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tandem:
    """Run a command in this process, in the built workspace or another folder: its exit code, output and errors."""
    monkeypatch.setenv("TANDEM_TRACKING_URI", "")

    def run(*words: str, folder: Path = built.root) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["tandem", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    return run
