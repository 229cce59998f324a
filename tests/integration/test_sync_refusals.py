"""What sync does not take: it says why, once, and what was served goes on."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Workspace
from damage import DAMAGES, attack, never
from placed import Place, challenge, flipped, laid_out, refusals, remade, traffic
from published import another, put_in

import tasks.sync
from flows.promote import promote
from flows.sync import sync
from tandem.bundle import MANIFEST, Bundle, seal
from tandem.errors import BundleError
from tandem.files import write_json
from tandem.problem import load_problem
from tandem.serving.rehearsal import rehearse
from tandem.serving.served import Source
from tandem.snapshots import Named
from tasks.snapshots import Knowledge, write_due

pytestmark = pytest.mark.usefixtures("no_git")


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (flipped, "bundle/model.onnx is not the file that the manifest names: its digest differs"),
        (lambda f: (f / "golden.json").unlink(), "bundle/golden.json is missing"),
        (lambda f: (f / "more.json").touch(), "bundle/more.json is not in the manifest"),
        (lambda f: (f / MANIFEST).unlink(), "bundle holds no bundle"),
        (lambda f: (f / MANIFEST).write_text("[" * 100_000), "is no bundle's manifest"),
        (lambda f: os.truncate(f / "model.onnx", (1 << 30) + 1), "is larger than a bundle may be"),
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


def test_500_damages_are_refused_and_change_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.sync, "rehearse", never)
    done = attack(bundle, tmp_path / "attacked", 500, 5)
    assert done.total() == 500
    assert len(done) == len(DAMAGES)
