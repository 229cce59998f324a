"""What the registry says is served, whole and rehearsed, or what was served before goes on and the audit says why."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from commands import environment
from conftest import Workspace
from damage import DAMAGES, attack, never
from msgspec.structs import replace
from published import another, opened, put_in

import tasks.sync
from flows.promote import promote
from flows.serve import own_bundle
from flows.sync import sync
from tandem.bundle import MANIFEST, Bundle, seal
from tandem.clock import wall_now
from tandem.errors import BundleError, RegistryError, TrafficError
from tandem.files import write_json
from tandem.problem import load_problem
from tandem.registry import Registry
from tandem.serving.rehearsal import rehearse
from tandem.serving.served import Source
from tandem.serving.synced import Synced
from tandem.serving.traffic import Traffic
from tandem.settings import Settings
from tandem.snapshots import Named
from tasks.snapshots import Knowledge, write_due


@pytest.fixture
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(autouse=True)
def _no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish from a folder that is no checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def registry(tracked: Settings) -> Registry:
    return opened(tracked)


@dataclass(frozen=True)
class Place:
    """A registry whose champion is served."""

    registry: Registry
    settings: Settings
    bundle: Bundle
    served: Traffic
    folder: Path
    beside: dict[str, str]
    """The environment in which commands find it."""


@pytest.fixture
def place(registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path) -> Place:
    put_in(registry, bundle)
    promote(registry, "1", "champion", None, "the first")
    assert sync(registry, tracked).reason == ""
    beside = {"TANDEM_VAR": str(tracked.var), "TANDEM_TRACKING_URI": tracked.tracking}
    return Place(registry, tracked, bundle, traffic(tracked), tmp_path, beside)


def traffic(settings: Settings) -> Traffic:
    found = Traffic.load(settings.serving / "traffic.json")
    assert found
    return found


def laid_out(settings: Settings) -> set[str]:
    return {path.name for path in (settings.serving / "bundles").iterdir()}


def refusals(registry: Registry) -> list[tuple[str | None, str]]:
    return [(event["digest"], event["reason"]) for event in registry.refused()]


def remade(bundle: Bundle, folder: Path, change: Callable[[Path], object]) -> Bundle:
    """A bundle in which something was changed before it was sealed: its digests are right."""
    shutil.copytree(bundle.folder, folder)
    change(folder)
    (folder / MANIFEST).unlink()
    seal(folder, bundle.annotations)
    return Bundle.open(folder)


def challenge(registry: Registry, bundle: Bundle, settings: Settings) -> Synced:
    """Publish a bundle, make it challenger, and sync."""
    version = put_in(registry, bundle)
    promote(registry, str(version.version), "challenger", 0.25, "try it")
    return sync(registry, settings)


def test_where_nothing_was_published_nothing_is_served(registry: Registry, tracked: Settings) -> None:
    synced = sync(registry, tracked)
    assert (synced.generation, synced.wanted, synced.reason) == (0, 0, "")
    assert synced.line == "nobody takes traffic yet"
    assert not (tracked.serving / "traffic.json").exists()


def test_the_champion_is_laid_out_and_served(place: Place) -> None:
    assert place.served == Traffic(
        champion=place.bundle.digest,
        generation=1,
        key=place.bundle.spec.keys,
        reason="the first",
        by=place.registry.events()[-1]["by"],
    )
    assert laid_out(place.settings) == {place.bundle.digest}
    assert Source(place.settings.serving).load().champion.digest == place.bundle.digest
    synced = Synced.load(place.settings.serving)
    assert synced
    assert (synced.generation, synced.wanted, synced.refused, synced.reason) == (1, 1, 0, "")


def test_again_nothing_changes(place: Place) -> None:
    path = place.settings.serving / "traffic.json"
    before = path.stat().st_ino, path.stat().st_mtime_ns
    assert sync(place.registry, place.settings).generation == place.served.generation == 1
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before


def test_with_nothing_new_it_loads_nothing_heavy(place: Place, built: Workspace) -> None:
    listing = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); from flows.cli import main; main()"
    words = [sys.executable, "-c", listing, "sync", "--json"]
    done = subprocess.run(
        words, cwd=built.root, env=environment(built.root, place.beside), capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["generation"] == place.served.generation
    heavy = {"mlflow", "numpy", "polars", "duckdb", "onnxruntime", "xgboost", "sqlglot", "securesystemslib", "lmdb"}
    assert {name.split(".")[0] for name in done.stderr.split()} & heavy == set()


def test_a_challenger_has_a_share_and_a_salt_of_its_own(place: Place) -> None:
    first, second = (another(place.bundle, place.folder / name, note=name) for name in ("first", "second"))
    assert challenge(place.registry, first, place.settings).generation == 2
    now = traffic(place.settings)
    assert (now.challenger, now.share, now.reason) == (first.digest, 0.25, "try it")
    promote(place.registry, "challenger", "challenger", 0.5, "more")
    sync(place.registry, place.settings)
    assert (traffic(place.settings).share, traffic(place.settings).salt) == (0.5, now.salt)
    keys = [("k", number) for number in range(2000)]
    assert {key for key in keys if now.challenged(key)} <= {
        key for key in keys if traffic(place.settings).challenged(key)
    }
    put_in(place.registry, second)
    promote(place.registry, second.digest, "shadow", None, "look")
    promote(place.registry, second.digest, "challenger", 0.5, "now this one")
    sync(place.registry, place.settings)
    assert traffic(place.settings).salt not in {"", now.salt}
    assert place.served.salt == ""
    assert Source(place.settings.serving).load().variants.keys() == {"champion", "challenger"}


def test_traffic_can_be_shared_by_other_fields(place: Place) -> None:
    by_town = replace(place.settings, sticky_by="town, depot")
    assert sync(place.registry, by_town).reason == ""
    assert traffic(place.settings).key == ("town", "depot") != place.served.key
    assert Source(place.settings.serving).load().key
    synced = sync(place.registry, replace(place.settings, sticky_by="colour"))
    assert "its requests have no colour" in synced.reason
    assert traffic(place.settings).key == ("town", "depot")


def flipped(folder: Path) -> None:
    data = bytearray((folder / "model.onnx").read_bytes())
    data[100] ^= 1
    (folder / "model.onnx").write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (flipped, "bundle/model.onnx is not the file that the manifest names: its digest differs"),
        (lambda f: (f / "golden.json").unlink(), "bundle/golden.json is missing"),
        (lambda f: (f / "more.json").touch(), "bundle/more.json is not in the manifest"),
        (lambda f: (f / MANIFEST).unlink(), "bundle holds no bundle"),
        (lambda f: (f / MANIFEST).write_text("[" * 100_000), "is no bundle's manifest"),
        (lambda f: os.truncate(f / "model.onnx", 1 << 40), "is larger than a bundle may be"),
        (lambda f: seal(f, {"tandem.as_of": "2024-04-15"}), "but the registry holds"),
    ],
)
def test_what_is_damaged_in_the_registry_is_refused_once_and_then_taken_up(
    place: Place, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], object], why: str
) -> None:
    new = another(place.bundle, place.folder / "new", note="new")
    version = put_in(place.registry, new)
    promote(place.registry, str(version.version), "champion", None, "newer")
    (manifest,) = (
        path for path in place.settings.var.rglob(MANIFEST) if path.read_bytes() == (new.folder / MANIFEST).read_bytes()
    )
    damage(manifest.parent)
    with monkeypatch.context() as patch:
        patch.setattr(tasks.sync, "rehearse", never)
        for _ in range(2):
            synced = sync(place.registry, place.settings)
            assert (synced.generation, synced.wanted, synced.refused) == (1, 2, 1)
            assert why in synced.reason
    assert synced.line.startswith("generation 2 is refused, generation 1 is served on: bundle ")
    assert traffic(place.settings) == place.served
    assert laid_out(place.settings) == {place.bundle.digest}
    ((digest, reason),) = refusals(place.registry)
    assert digest == new.digest
    assert reason in synced.reason

    shutil.rmtree(manifest.parent)
    shutil.copytree(new.folder, manifest.parent)
    synced = sync(place.registry, place.settings)
    assert (synced.generation, synced.refused, synced.reason) == (2, 1, "")
    assert Source(place.settings.serving).load().champion.digest == new.digest


def other_scores(folder: Path) -> None:
    cases = json.loads((folder / "golden.json").read_text())
    cases[255]["score"] += 2e-6
    write_json(folder / "golden.json", cases)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: (f / "model.onnx").write_bytes(b"\x08\x07" * 500), "failed at its golden requests"),
        (other_scores, "scores 0."),
        (lambda f: (f / "golden.json").unlink(), "failed at its golden requests: .*holds no golden.json"),
        (lambda f: write_json(f / "features.json", {}), "failed at its golden requests"),
        (lambda f: (f / "contract.json").write_text("no json"), "failed at its golden requests"),
    ],
)
def test_what_does_not_answer_as_it_promises_is_refused(
    place: Place, change: Callable[[Path], object], why: str
) -> None:
    bad = remade(place.bundle, place.folder / "bad", change)
    with pytest.raises(BundleError, match=why):
        rehearse(bad, 60, 1024)
    assert place.served.champion == place.bundle.digest
    assert sync(place.registry, place.settings).reason == ""


def test_a_rehearsal_ends_within_its_limits(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"was not done with its golden requests after 0.05 s"):
        rehearse(bundle, 0.05, 1024)
    with pytest.raises(BundleError, match="at its golden requests"):
        rehearse(bundle, 60, 60)
    rehearse(bundle, 60, 1024)


def test_a_bundle_that_hangs_or_crashes_is_refused_and_the_rest_goes_on(place: Place) -> None:
    bad = remade(place.bundle, place.folder / "bad", lambda f: (f / "model.onnx").write_bytes(os.urandom(5000)))
    version = put_in(place.registry, another(place.bundle, place.folder / "good", note="good"))
    put_in(place.registry, bad)
    promote(place.registry, bad.digest, "challenger", 0.5, "try it")
    synced = sync(place.registry, place.settings)
    assert f"bundle {bad.digest[:12]} failed at its golden requests: " in synced.reason
    assert traffic(place.settings) == place.served
    promote(place.registry, str(version.version), "challenger", 0.5, "the good one")
    assert sync(place.registry, place.settings).generation == 3


def wider(folder: Path) -> None:
    contract = json.loads((folder / "contract.json").read_text())
    contract["title"] = "Another"
    write_json(folder / "contract.json", contract)


def slower(folder: Path) -> None:
    spec = json.loads((folder / "features.json").read_text())
    write_json(folder / "features.json", spec | {"tick_minutes": spec["tick_minutes"] * 2})


@pytest.mark.parametrize(("change", "why"), [(wider, "other requests than the champion"), (slower, "other ticks")])
def test_a_state_in_which_two_do_not_fit_is_refused(place: Place, change: Callable[[Path], object], why: str) -> None:
    other = remade(place.bundle, place.folder / "other", change)
    synced = challenge(place.registry, other, place.settings)
    assert why in synced.reason
    assert refusals(place.registry)[0][0] == other.digest
    assert traffic(place.settings) == place.served
    promote(place.registry, "challenger", "champion", None, "so be it")
    assert sync(place.registry, place.settings).generation == 3


def test_a_snapshot_that_is_there_must_fit(place: Place, built: Workspace) -> None:
    write_due(
        Knowledge(load_problem("parcels"), built.data / "facts", place.bundle.spec.grid, place.bundle.as_of),
        place.settings.snapshots,
        2,
    )

    def renamed(folder: Path) -> None:
        text = (folder / "features.json").read_text()
        view = place.bundle.spec.views[0].name
        (folder / "features.json").write_text(text.replace(f'"{view}"', f'"{view}_2"'))

    other = remade(place.bundle, place.folder / "other", renamed)
    assert "as the bundle knows it" in challenge(place.registry, other, place.settings).reason
    assert traffic(place.settings) == place.served
    for named in Named.all(place.settings.snapshots):
        named.path.write_bytes(b"damaged")
    assert sync(place.registry, place.settings).generation == 2


def test_without_a_champion_the_one_before_goes_on(place: Place) -> None:
    promote(place.registry, "none", "champion", None, "nobody")
    assert "generation 2 has no champion" in sync(place.registry, place.settings).reason
    assert traffic(place.settings) == place.served
    assert refusals(place.registry) == [(None, "generation 2 has no champion: nobody would answer")]


def test_what_was_damaged_where_it_is_laid_out_is_fetched_again(place: Place) -> None:
    folder = place.settings.serving / "bundles" / place.bundle.digest
    flipped(folder)
    assert sync(place.registry, place.settings).reason == ""
    assert Bundle.open(folder).digest == place.bundle.digest
    shutil.rmtree(folder)
    shutil.copytree(place.bundle.folder, place.folder / "elsewhere")
    folder.symlink_to(place.folder / "elsewhere")
    (place.settings.serving / "traffic.json").write_text("{")
    assert sync(place.registry, place.settings).reason == ""
    assert not folder.is_symlink()
    assert (place.folder / "elsewhere").is_dir()
    assert traffic(place.settings) == place.served


def test_the_last_few_bundles_stay(place: Place) -> None:
    half = place.settings.serving / "bundles" / ".half"
    half.mkdir()
    digests = [place.bundle.digest]
    for number in range(6):
        new = another(place.bundle, place.folder / str(number), note=str(number))
        digests.append(new.digest)
        version = put_in(place.registry, new)
        promote(place.registry, str(version.version), "champion", None, "newer")
        sync(place.registry, place.settings)
    assert laid_out(place.settings) == set(digests[-4:])
    assert place.served.champion not in laid_out(place.settings)


def test_where_the_registry_cannot_be_reached_all_stays(place: Place) -> None:
    new = another(place.bundle, place.folder / "new", note="new")
    version = put_in(place.registry, new)
    promote(place.registry, str(version.version), "champion", None, "newer")
    with sqlite3.connect(place.settings.var / "mlflow" / "mlflow.db") as database:
        database.execute("alter table model_versions rename to elsewhere")
    with pytest.raises(RegistryError, match=r"MLflow at .*no such table"):
        sync(place.registry, place.settings)
    assert traffic(place.settings) == place.served
    assert refusals(place.registry) == []
    with sqlite3.connect(place.settings.var / "mlflow" / "mlflow.db") as database:
        database.execute("alter table elsewhere rename to model_versions")
    assert sync(place.registry, place.settings).generation == 2


def test_500_damages_are_refused_and_change_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.sync, "rehearse", never)
    done = attack(bundle, tmp_path / "attacked", 500, 5)
    assert done.total() == 500
    assert len(done) == len(DAMAGES)


def lines_of(watching: "subprocess.Popen[str]") -> Callable[[], str]:
    assert watching.stdout
    return watching.stdout.readline


def test_a_watch_takes_up_what_is_new_tells_a_failure_once_and_ends_cleanly(place: Place, built: Workspace) -> None:
    words = [sys.executable, "-m", "flows.cli", "sync", "--watch", "--every", "0.1"]
    with subprocess.Popen(
        words,
        cwd=built.root,
        env=environment(built.root, place.beside),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        line = lines_of(watching)
        assert line() == "generation 1 is served\n"
        version = put_in(place.registry, another(place.bundle, place.folder / "new", note="new"))
        promote(place.registry, str(version.version), "champion", None, "newer")
        assert line() == "generation 2 is served\n"
        audit = place.settings.ledger / "audit" / "0"
        good = audit.read_bytes()
        audit.write_bytes(good.replace(b"newer", b"older"))
        assert line().startswith("serving stays as it was: ")
        for _ in range(3):
            os.utime(audit)
            time.sleep(0.4)
        audit.write_bytes(good)
        assert line() == "generation 2 is served\n"
        promote(place.registry, "none", "champion", None, "nobody")
        assert line().startswith("generation 3 is refused, generation 2 is served on")
        watching.send_signal(signal.SIGTERM)
        out, err = watching.communicate(timeout=20)
    assert (watching.returncode, out) == (0, ""), err
    assert place.served.generation == 1
    assert traffic(place.settings).generation == 2


def test_the_command_says_what_is_refused_and_fails(place: Place, built: Workspace) -> None:
    promote(place.registry, "none", "champion", None, "nobody")
    words = [sys.executable, "-m", "flows.cli", "sync"]
    done = subprocess.run(
        words, cwd=built.root, env=environment(built.root, place.beside), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout.startswith("generation 2 is refused, generation 1 is served on: generation 2 has no champion")
    assert place.served.generation == 1


def test_the_own_bundle_is_served_only_where_nobody_ever_decided(tracked: Settings) -> None:
    never_any = Synced(0, 0, wall_now())
    assert own_bundle(never_any, tracked, "parcels") == tracked.data / "parcels" / "bundle"
    with pytest.raises(TrafficError, match="nothing can be served: damaged"):
        own_bundle(msgspec.structs.replace(never_any, wanted=1, reason="damaged"), tracked, "parcels")
    with pytest.raises(TrafficError, match="by the policy `attested`"):
        own_bundle(never_any, replace(tracked, accept="attested"), "parcels")


def test_who_wrote_sync_json_last_can_be_told_and_rubbish_is_none(tmp_path: Path) -> None:
    assert Synced.load(tmp_path) is None
    (tmp_path / "sync.json").write_text("{}")
    assert Synced.load(tmp_path) is None
