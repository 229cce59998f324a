"""Published: one version and one run for each bundle, whoever publishes it, how often, and however it is cut off."""

import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from conftest import AS_OF, Workspace

from flows.move import bring_in, export
from flows.promote import promote
from flows.publish import publish
from tandem import archive
from tandem.bundle import Bundle, seal
from tandem.clock import Clock
from tandem.errors import BundleError, RegistryError
from tandem.files import sha256_of
from tandem.origin import origin_of
from tandem.registry import Registry, State
from tandem.settings import Settings

RACERS = 8


@pytest.fixture
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


def opened(settings: Settings) -> Registry:
    return Registry("parcels", settings, Clock.stopped(AS_OF))


@pytest.fixture(autouse=True)
def _no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish from a folder that is no checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def registry(tracked: Settings) -> Registry:
    return opened(tracked)


def another(bundle: Bundle, folder: Path, **annotations: str) -> Bundle:
    """A bundle that differs by what its manifest says of it."""
    shutil.copytree(bundle.folder, folder)
    seal(folder, bundle.annotations | annotations)
    return Bundle.open(folder)


def runs(registry: Registry) -> list[Any]:
    return list(registry.client.search_runs([registry.experiment()]))


def whole(registry: Registry, bundle: Bundle) -> None:
    """One version, one run, a child for each trial, and one event."""
    (version,) = registry.versions()
    assert version.digest == bundle.digest
    trials = bundle.json("trials.json")
    parents = [run for run in runs(registry) if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs(registry) if run.data.tags.get("mlflow.parentRunId") == version.run]
    assert [run.info.run_id for run in parents] == [version.run]
    assert sorted(run.data.tags["tandem.trial"] for run in children) == sorted(str(t["number"]) for t in trials)
    assert {run.info.status for run in runs(registry)} == {"FINISHED"}
    assert parents[0].data.metrics["auc"] == bundle.json("reports/evaluation.json")["overall"]["auc"]
    assert parents[0].data.params["as_of"] == AS_OF.isoformat()
    assert [event["digest"] for event in registry.events() if event["event"] == "publish"] == [bundle.digest]


def test_the_first_becomes_champion_and_again_nothing_changes(
    registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    version, proposal = publish(registry, bundle, tracked)
    assert (version.version, version.digest) == (1, bundle.digest)
    assert proposal["reason"].startswith("the first of this workspace")
    whole(registry, bundle)
    assert registry.state() == State(generation=1, champion=bundle.digest)
    before = registry.events()
    assert publish(registry, bundle, tracked)[1]["reason"] == "it is the champion"
    assert registry.events() == before
    whole(registry, bundle)
    assert registry.fetch(version, tmp_path / "fetched").digest == bundle.digest


def test_by_policy_the_first_becomes_nothing(registry: Registry, bundle: Bundle, tracked: Settings) -> None:
    _, proposal = publish(registry, bundle, tracked.model_copy(update={"first_publish": "nothing"}))
    assert proposal["as"] == "champion"
    assert registry.state() == State()


def test_a_second_is_judged_on_the_same_rows_and_proposed_or_not(
    registry: Registry, built: Workspace, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    settings = tracked.model_copy(update={"data": built.settings.data})
    publish(registry, bundle, settings)
    same = another(bundle, tmp_path / "same", note="the same model")
    version, proposal = publish(registry, same, settings)
    assert (version.version, proposal["as"]) == (2, None)
    assert proposal["reason"].startswith("no better than the champion on the same 569 rows")
    assert proposal["figures"] == proposal["champion"]
    assert registry.find("2").proposal == proposal
    promote(registry, "2", "challenger", 0.1, "try it")
    assert registry.state().challenger == same.digest

    _, proposal = publish(registry, another(bundle, tmp_path / "far", note="elsewhere"), tracked)
    assert proposal["reason"] == "not compared: the rows it was tested on are not here"


def racer(settings: Settings, folder: Path) -> None:
    os.chdir(settings.var)
    publish(opened(settings), Bundle.open(folder), settings)


def test_many_who_publish_at_once_make_one_version_and_one_run(
    registry: Registry, bundle: Bundle, tracked: Settings
) -> None:
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload(["mlflow", "flows.publish"])
    racers = [apart.Process(target=racer, args=(tracked, bundle.folder)) for _ in range(RACERS)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    assert [each.exitcode for each in racers] == [0] * RACERS
    whole(registry, bundle)
    assert registry.settle() == State(generation=1, champion=bundle.digest)


class CutOff:
    """MLflow's client, up to a call in whose stead the process is gone."""

    def __init__(self, client: object, calls: int) -> None:
        self._client, self._left = client, calls

    def __getattr__(self, name: str) -> object:
        self._left -= 1
        if self._left < 0:
            os._exit(9)
        return getattr(self._client, name)


def cut_off(settings: Settings, folder: Path, calls: int) -> None:
    os.chdir(settings.var)
    registry = opened(settings)
    vars(registry)["client"] = CutOff(registry.client, calls)
    publish(registry, Bundle.open(folder), settings)


def test_cut_off_anywhere_it_is_completed_by_the_next(registry: Registry, bundle: Bundle, tracked: Settings) -> None:
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload(["mlflow", "flows.publish"])
    calls, code = 0, 9
    while code == 9:
        process = apart.Process(target=cut_off, args=(tracked, bundle.folder, calls))
        process.start()
        process.join()
        code, calls = process.exitcode or 0, calls + 2
    assert code == 0
    assert calls > 10, "it was cut off at many places"
    whole(registry, bundle)
    assert registry.settle() == State(generation=1, champion=bundle.digest)


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        [which("git") or "", *own, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_source_that_no_commit_holds_is_told_and_never_becomes_champion(
    rebuilt: Workspace, tracked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(rebuilt.data / "bundle")
    source = bundle.folder / "source.tar"
    assert origin_of(source, rebuilt.root).commit is None
    git(rebuilt.root, "init", "--quiet")
    git(rebuilt.root, "add", "--all", "--force", "--", ".", ":!data/parcels")
    git(rebuilt.root, "commit", "--quiet", "--message", "all")
    origin = origin_of(source, rebuilt.root)
    assert (origin.commit, origin.differ) == (git(rebuilt.root, "rev-parse", "HEAD"), ())

    params = rebuilt.root / "params.yaml"
    params.write_text(params.read_text().replace('as_of: "2024-04-15"', 'as_of: "2024-04-14"'))
    git(rebuilt.root, "commit", "--quiet", "--all", "--message", "another day")
    assert not origin_of(source, rebuilt.root).dirty, "the day alone is no change"

    code = rebuilt.root / "tandem" / "views.py"
    code.write_text(code.read_text() + "\n")
    git(rebuilt.root, "commit", "--quiet", "--all", "--message", "other code")
    assert origin_of(source, rebuilt.root).differ == ("tandem/views.py",)
    registry = opened(tracked)
    monkeypatch.chdir(rebuilt.root)
    version, proposal = publish(registry, bundle, tracked)
    assert version.dirty
    assert "no commit holds" in proposal["reason"]
    assert registry.state() == State()
    with pytest.raises(RegistryError, match="no commit holds"):
        promote(registry, "1", "champion", None, "all the same")


def test_exported_and_imported_it_is_the_same_bundle(
    registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    publish(registry, bundle, tracked)
    first = export(registry, "champion", tmp_path / "first.tar")
    second = archive.export(bundle, tmp_path / "second.tar")
    assert sha256_of(first) == sha256_of(second)
    elsewhere = tracked.model_copy(update={"first_publish": "nothing"})
    version, _ = bring_in(registry, first, elsewhere)
    assert (version.version, version.digest) == (1, bundle.digest)
    other = Registry("flights", tracked, Clock.stopped(AS_OF))
    with pytest.raises(BundleError, match="is a bundle of problem parcels"):
        bring_in(other, first, elsewhere)
