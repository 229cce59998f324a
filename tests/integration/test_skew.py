"""Skew is 0: what was answered over HTTP, at many ticks, is what offline code makes of it; and where not, it is told."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from answering import served
from commands import tandem
from conftest import Workspace, copy_built, workspace_at
from traffic import asked_at, snapshots_until

from flows.skew import skew
from tandem import ledger
from tandem.bundle import Bundle, seal
from tandem.clock import Clock
from tandem.serving.records import Records
from tandem.snapshots import About, Named, Snapshot, write_snapshot
from tasks.skew import Skew

TICKS = 40
FIRST = datetime(2024, 3, 29, 12)  # noqa: DTZ001 - the clocks go forward two days later
AT_A_TICK = 50
ANY_MOMENT = {"TANDEM_ANY_MOMENT": "true", "TANDEM_SNAPSHOTS_KEPT": "1000"}


@pytest.fixture(scope="module")
def answered(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that has answered requests over HTTP at many ticks, some of which had no snapshot of their own."""
    root = tmp_path_factory.mktemp("skew") / "workspace"
    copy_built(built, root)
    workspace = workspace_at(root)
    shutil.rmtree(workspace.settings.serving, ignore_errors=True)
    bundle = Bundle.open(workspace.data / "bundle")
    ticks = snapshots_until(workspace, bundle, FIRST, TICKS)
    for named in Named.all(workspace.settings.snapshots)[5:20:5]:
        named.path.unlink()
    with served(root, beside=ANY_MOMENT) as (address, _, _):
        asked_at(address, workspace, bundle, ticks, AT_A_TICK)
    return workspace


@pytest.fixture
def workspace(answered: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(answered.root, tmp_path / "workspace", symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "workspace")
        yield workspace_at(tmp_path / "workspace")


def found(workspace: Workspace) -> Skew:
    return skew(workspace.params, workspace.settings)


def test_what_is_answered_is_what_offline_code_makes_of_it(answered: Workspace) -> None:
    told = found(answered)
    assert (told.records, told.compared) == (TICKS * AT_A_TICK, TICKS * AT_A_TICK)
    assert (told.differing, told.scores, told.features, told.examples) == (0, 0, {}, [])
    assert told.largest == 0  # the same engine gives the same bits
    assert told.hidden == ()  # a customer's name is a key under its other name as well
    assert (told.stale, told.latest) == (3 * AT_A_TICK, 900)
    assert told.lateness == 900 * told.stale


def test_the_command_says_so(answered: Workspace) -> None:
    done = tandem(answered.root, "skew")
    assert done.returncode == 0, done.stderr
    assert "2,000 of 2,000 predictions compared: 0 differ" in done.stdout
    assert "150 were answered stale, 900 s on average, 900 s at most" in done.stdout
    assert json.loads(tandem(answered.root, "skew", "--json").stdout) == json.loads(json.dumps(asdict(found(answered))))


def test_what_was_answered_from_something_else_is_named(workspace: Workspace) -> None:
    """A snapshot with another value in one view: as of its tick one feature, and what follows from it, differ."""
    bundle = Bundle.open(workspace.data / "bundle")
    shutil.rmtree(workspace.settings.ledger)
    folder = workspace.settings.snapshots
    named = Named.all(folder)[30]
    opened = Snapshot.open(named.path)
    rows, view = opened.rows(), "depot_part.history"
    place = next(n for n, name in enumerate(opened.about.views[view][1]) if name == "part_handed_7d")
    for key, values in rows[view].items():
        rows[view][key] = (*values[:place], 4711, *values[place + 1 :])
    write_snapshot(folder, About(named.tick, opened.about.views, opened.about.made_of), rows)
    named.path.unlink()
    ticks = [named.tick, named.tick + bundle.spec.grid.tick]
    with served(workspace.root, beside=ANY_MOMENT) as (address, _, _):
        asked_at(address, workspace, bundle, ticks, 20)
    told = found(workspace)
    assert (told.compared, told.stale) == (40, 0)
    assert 0 < told.differing <= 20
    assert set(told.features) == {view, "request"}
    assert set(told.features[view]) == {"part_handed_7d"}
    assert set(told.features["request"]) == {"courier_share"}
    example = next(each for each in told.examples if each["feature"] == "part_handed_7d")
    assert (example["answered"], example["tick"]) == (4711, named.tick.isoformat())
    assert example["offline"] not in {None, 4711}
    done = tandem(workspace.root, "skew")
    assert done.returncode == 4
    assert f"{told.differing} of 40 rows differ" in done.stderr
    assert "part_handed_7d: answered 4711" in done.stdout


@pytest.mark.parametrize(
    ("personal", "hidden"),
    [
        ("weight_g", ("kilograms",)),
        ("promised_at", ("part_handed_7d", "part_late_7d", "promised_hour", "notice", "courier_share")),
    ],
)
def test_what_follows_from_a_personal_value_is_not_compared_and_told_so(
    workspace: Workspace, personal: str, hidden: tuple[str, ...]
) -> None:
    folder = workspace.data / "bundle"
    before = Bundle.open(folder)
    contract = before.json("contract.json")
    contract["properties"][personal]["personal"] = True
    (folder / "contract.json").write_text(json.dumps(contract))
    seal(folder, before.annotations)
    shutil.rmtree(workspace.settings.ledger)
    bundle = Bundle.open(folder)
    with served(workspace.root, beside=ANY_MOMENT) as (address, _, _):
        asked_at(address, workspace, bundle, [Named.all(workspace.settings.snapshots)[30].tick], 20)
    told = found(workspace)
    assert (told.compared, told.differing) == (20, 0)
    assert set(told.hidden) == set(hidden)
    said = tandem(workspace.root, "skew").stdout
    assert f"not compared, for records hold no personal values: {', '.join(told.hidden)}" in said


def test_what_cannot_be_compared_is_counted(workspace: Workspace) -> None:
    settings = workspace.settings
    (segment,) = settings.ledger.glob("*/0000")
    row = next(row for row in ledger.rows(segment) if row["kind"] == "prediction")
    records = Records(settings.ledger)
    records.append([row | {"bundle": "f" * 64}] * 3 + [row | {"problem": "another"}, {"kind": "label"}])
    records.close()
    Clock.stopped(FIRST + timedelta(minutes=15 * 10)).save(settings.clock)
    shutil.rmtree(workspace.data / "views")  # what training had goes further than the clock
    told = found(workspace)
    assert told.records == TICKS * AT_A_TICK + 3
    assert told.other_bundles == {"f" * 64: 3}
    assert (told.compared, told.not_yet_known) == (11 * AT_A_TICK, (TICKS - 11) * AT_A_TICK)
    assert told.differing == 0
    said = tandem(workspace.root, "skew").stdout
    assert "3 of bundle ffffffffffff, which is not here" in said
    assert "of ticks that are not known here yet" in said


def test_without_records_nothing_is_compared(built: Workspace, tmp_path: Path) -> None:
    settings = workspace_at(tmp_path).settings
    assert skew(built.params, settings) == Skew()
