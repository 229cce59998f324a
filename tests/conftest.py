"""What tests of all layers share: the tests' own tiny problem, its graph run in-process, and copies of the tree."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings
from raw_parcels import write_all

import flows  # noqa: F401 - pins the processor before numpy is there
from flows.land import land
from tandem.clock import Clock
from tandem.landing import Pin
from tandem.params import Params
from tandem.registry import Registry
from tandem.settings import Settings

settings.register_profile("same", derandomize=True, deadline=None)  # CI asks what it asked before, however busy
settings.register_profile("explore", max_examples=2000)  # pytest --hypothesis-profile=explore
settings.load_profile("same")

ROOT = Path(__file__).parents[1]
TREE = ("flows", "tasks", "tandem", "problems", "dvc.yaml", "pyproject.toml", "requirements.lock", ".dvc", ".dvcignore")
STAGES = ("ingest", "views", "training_set", "tune", "train", "evaluate", "bundle")
AS_OF = datetime(2024, 4, 15)  # noqa: DTZ001
PARCELS = ROOT / "tests" / "problems" / "parcels"


def pytest_configure(config: pytest.Config) -> None:
    """Let be what DVC does from Python 3.13 on: it leaves its own databases to the garbage collector."""
    config.addinivalue_line("filterwarnings", "ignore:unclosed database in <sqlite3:ResourceWarning")


@dataclass(frozen=True)
class Workspace:
    """A folder of its own in which a problem's graph runs."""

    root: Path
    params: Params
    settings: Settings

    @property
    def data(self) -> Path:
        """The problem's part of the data."""
        return self.settings.of(self.params.problem)

    @property
    def lock(self) -> Path:
        """What is pinned."""
        return self.settings.data / "sources.lock"

    def run(self, *stages: str) -> None:
        """Run stages in this process, one after the other."""
        for stage in stages:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(self.root)
                getattr(import_module(f"flows.{stage}"), stage)(self.params, self.settings)

    def land(self, source: str, file: Path) -> Pin:
        """Land one raw file."""
        return land(source, file, self.params, self.settings)

    def files(self, *folders: str) -> dict[str, bytes]:
        """Every file below some folders of the problem's data, or all of them, with its bytes."""
        below = [self.data / folder for folder in folders] or [self.data]
        paths = sorted(path for folder in below for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(self.data).as_posix(): path.read_bytes() for path in paths}


def copy_tree(target: Path, params: Path = PARCELS / "params.yaml") -> Path:
    """Copy what the graph needs, without git, data and state, and with the tests' own problem in its place."""
    target.mkdir(parents=True, exist_ok=True)
    ignored = shutil.ignore_patterns("__pycache__", "tmp", "cache", "config.local")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored, symlinks=True)
        elif source.exists():
            shutil.copyfile(source, target / name)
    shutil.copytree(PARCELS, target / "problems" / "parcels", ignore=ignored)
    shutil.copyfile(params, target / "params.yaml")
    (target / "data").mkdir()
    return target


def workspace_at(root: Path) -> Workspace:
    """Say where things are in a folder."""
    settings = Settings(data=root / "data", var=root / "var", tracking_uri="")
    return Workspace(root, Params.load(PARCELS / "params.yaml"), settings)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Path]]:
    """The raw files of the tests' own problem, each with its source; what others look things up in comes first."""
    return write_all(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="session")
def _landed(raw: list[tuple[str, Path]], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which all raw files have landed, for others to copy."""
    made = workspace_at(tmp_path_factory.mktemp("landed"))
    for source, file in raw:
        made.land(source, file)
    return made


def _copied(landed: Workspace, root: Path) -> Workspace:
    for name in ("data", "var"):
        shutil.copytree(getattr(landed.settings, name), root / name, dirs_exist_ok=True)
    return workspace_at(root)


@pytest.fixture
def empty(tmp_path: Path) -> Workspace:
    """A folder with nothing in it, for the tests' own problem."""
    return workspace_at(tmp_path / "workspace")


@pytest.fixture
def landed(_landed: Workspace, tmp_path: Path) -> Workspace:
    """A folder in which all raw files of the tests' own problem have landed, and nothing was run."""
    return _copied(_landed, tmp_path / "workspace")


@pytest.fixture
def workspace(_landed: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the tree, the current folder, in which the raw files of the tests' own problem have landed."""
    root = copy_tree(tmp_path / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield _copied(_landed, root)


def once(target: Path, make: Callable[[Path], object]) -> Path:
    """Make what is only read; where it is said to be kept, which mutation.py does, sessions after this one find it."""
    kept = Path(os.environ.get("TANDEM_TESTS_KEEP", target.parent)) / target.name
    if not kept.exists():
        make(kept)
    return kept


@pytest.fixture(scope="session")
def built(_landed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tests' own problem after the whole graph, from data to bundle; only to be read."""

    def make(root: Path) -> None:
        _copied(_landed, copy_tree(root)).run(*STAGES)

    return workspace_at(once(tmp_path_factory.mktemp("built") / "workspace", make))


def copy_built(built: Workspace, root: Path) -> None:
    """Copy the workspace that is only read, without what servers of other tests wrote down beside it."""
    shutil.copytree(built.root, root, symlinks=True, ignore=shutil.ignore_patterns("ledger"))


@pytest.fixture
def rebuilt(built: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the tests' own problem after the whole graph, the current folder, to be changed."""
    root = tmp_path / "workspace"
    copy_built(built, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield workspace_at(root)


@pytest.fixture(scope="session")
def _mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow, for others to copy: making its tables takes seconds."""

    def make(var: Path) -> None:
        Registry("p", Settings(var=var), Clock.stopped(AS_OF)).versions()

    return once(tmp_path_factory.mktemp("mlflow") / "var", make) / "mlflow" / "mlflow.db"


@pytest.fixture
def tracked(_mlflow: Path, tmp_path: Path) -> Settings:
    """Settings of an empty workspace with an MLflow of its own."""
    settings = Settings(data=tmp_path / "data", var=tmp_path / "var")
    copied = settings.var / "mlflow" / "mlflow.db"
    copied.parent.mkdir(parents=True)
    with closing(sqlite3.connect(_mlflow)) as source, closing(sqlite3.connect(copied)) as target:
        source.backup(target)
    return settings
