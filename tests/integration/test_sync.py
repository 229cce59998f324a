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
from pathlib import Path

import msgspec
import pytest
from commands import environment
from conftest import Workspace
from msgspec.structs import replace
from placed import Place, challenge, flipped, laid_out, refusals, traffic
from published import another, put_in

from flows.promote import promote
from flows.serve import own_bundle
from flows.sync import sync
from tandem.bundle import Bundle
from tandem.clock import wall_now
from tandem.errors import RegistryError, TrafficError
from tandem.registry import Registry
from tandem.serving.served import Source
from tandem.serving.synced import Synced
from tandem.serving.traffic import Traffic
from tandem.settings import Settings

pytestmark = pytest.mark.usefixtures("no_git")


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


def lines_of(watching: "subprocess.Popen[str]") -> Callable[[], str]:
    assert watching.stdout
    return watching.stdout.readline


def test_a_watch_takes_up_what_is_new_tells_a_failure_once_and_ends_cleanly(place: Place, built: Workspace) -> None:
    words = [sys.executable, "-m", "flows.cli", "sync", "--watch", "--every", "0.1", "--attached"]
    with subprocess.Popen(
        words,
        cwd=built.root,
        env=environment(built.root, place.beside),
        stdin=subprocess.PIPE,
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
        watching.wait(timeout=20)  # its input is still open
        out, err = watching.communicate()
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
