"""Snapshots: what serving knows at a tick is what training saw of it, to the bit, however it was made."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import yaml
from conftest import Workspace

from flows.refresh import refresh
from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.errors import ProblemError, SnapshotError
from tandem.problem import Problem, load_problem
from tandem.snapshots import About, Named, Snapshot, write_snapshot
from tandem.vectors import Compiled, Values
from tandem.warehouse import Warehouse
from tasks.snapshots import Knowledge, write_due
from tasks.splits import matrix
from tasks.training_set import DUE, requests_of, with_features, with_views

TICK = timedelta(minutes=15)
FIRST = datetime(2024, 3, 29, 12)  # noqa: DTZ001 - the clocks go forward two days later
TICKS = 50
AT_A_TICK = 200


@pytest.fixture(scope="module")
def problem() -> Problem:
    return load_problem("parcels")


@pytest.fixture(scope="module")
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


def known(built: Workspace, problem: Problem, until: datetime) -> Knowledge:
    return Knowledge(problem, built.data / "facts", built.params.features, until)


def rows_at(folder: Path, tick: datetime) -> dict[str, dict[Values, Values]]:
    return Snapshot.open(next(named.path for named in Named.all(folder) if named.tick == tick)).rows()


@pytest.fixture(scope="module")
def followed(built: Workspace, problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots of many ticks, of which all but the first two follow from those before."""
    folder = tmp_path_factory.mktemp("followed")
    for until in (FIRST, FIRST + TICK, FIRST + 40 * TICK, FIRST + 200 * TICK):
        write_due(known(built, problem, until), folder, kept=1000)
    return folder


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001


def fields_of(rows: pl.DataFrame, names: list[str]) -> Iterator[Values]:
    for row in rows.select(names).iter_rows():
        yield tuple(microseconds(value) if isinstance(value, datetime) else value for value in row)


def test_inputs_are_the_same_offline_and_from_a_snapshot_to_the_bit(
    built: Workspace, problem: Problem, bundle: Bundle, followed: Path
) -> None:
    spec, compiled = bundle.spec, Compiled(bundle.spec)
    drawn = random.Random(11).sample(Named.all(followed), TICKS)  # noqa: S311
    with Warehouse.open(built.data / "facts", built.params.as_of, spec.grid.tick) as warehouse:
        asked = requests_of(problem, warehouse, spec.grid)
        for named in drawn:
            requests = asked.sample(AT_A_TICK, seed=int(named.tick.timestamp())).with_columns(
                pl.lit(named.tick).dt.cast_time_unit("us").alias(DUE)
            )
            joined = with_views(requests, spec, warehouse, built.data / "views")
            offline = matrix(with_features(joined, spec, warehouse), spec.names)
            row = Snapshot.open(named.path).row
            online = [compiled.on(row).made(fields) for fields in fields_of(requests, list(spec.fields))]
            vectors = np.frombuffer(b"".join(made.data for made in online), dtype=np.uint32).reshape(offline.shape)
            np.testing.assert_array_equal(vectors, offline.view(np.uint32), err_msg=str(named.tick))
            assert [made.nulls for made in online] == np.isnan(offline).sum(axis=1).tolist()
    assert len(drawn) * AT_A_TICK == 10_000


def test_a_snapshot_that_follows_is_the_one_made_from_all_facts_to_the_byte(
    built: Workspace, problem: Problem, followed: Path, tmp_path: Path
) -> None:
    for tick in (FIRST, FIRST + 13 * TICK, FIRST + 200 * TICK):
        (alone,) = write_due(known(built, problem, tick), tmp_path / str(tick), kept=1)
        assert alone.name in {named.path.name for named in Named.all(followed)}


def test_every_tick_is_there_once_and_in_order(followed: Path) -> None:
    ticks = [named.tick for named in Named.all(followed)]
    assert ticks == [FIRST - TICK + n * TICK for n in range(202)]


def test_what_was_erased_is_known_no_more(built: Workspace, problem: Problem, tmp_path: Path) -> None:
    """Windows expire without a fact: a day without any makes the sums of six hours zero or unknown."""
    quiet = datetime(2024, 6, 30)  # noqa: DTZ001
    write_due(known(built, problem, quiet), tmp_path, kept=1)
    (named,) = Named.all(tmp_path)
    assert named.tick == quiet
    paces = Snapshot.open(named.path).rows()["courier.pace"]
    assert {values[0] for values in paces.values()} == {0}


def test_again_nothing_is_written(built: Workspace, problem: Problem, followed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in followed.iterdir()}
    assert write_due(known(built, problem, FIRST + 200 * TICK), followed, kept=1000) == []
    assert write_due(known(built, problem, FIRST + 10 * TICK), followed, kept=1000) == []
    assert {path: path.stat().st_mtime_ns for path in followed.iterdir()} == before


def test_only_the_newest_are_kept(built: Workspace, problem: Problem, tmp_path: Path) -> None:
    write_due(known(built, problem, FIRST), tmp_path, kept=5)
    write_due(known(built, problem, FIRST + 100 * TICK), tmp_path, kept=5)
    assert [named.tick for named in Named.all(tmp_path)] == [FIRST + n * TICK for n in range(96, 101)]


def test_what_is_kept_is_counted_up_to_the_clock(built: Workspace, problem: Problem, tmp_path: Path) -> None:
    write_due(known(built, problem, FIRST + 100 * TICK), tmp_path, kept=2)
    written = write_due(known(built, problem, FIRST), tmp_path, kept=2)
    assert [named.path for named in Named.all(tmp_path)] == written
    assert [named.tick for named in Named.all(tmp_path)] == [FIRST - TICK, FIRST]


def test_other_sql_makes_the_newest_anew_and_leaves_one_a_tick(
    built: Workspace, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_due(known(built, problem, FIRST), tmp_path, kept=5)
    monkeypatch.setattr(duckdb, "__version__", "another")
    written = write_due(known(built, problem, FIRST), tmp_path, kept=5)
    assert [named.path for named in Named.all(tmp_path)] == written
    assert [named.tick for named in Named.all(tmp_path)] == [FIRST - TICK, FIRST]


def test_a_fact_that_landed_late_is_in_the_next_snapshot(landed: Workspace, raw: list[tuple[str, Path]]) -> None:
    late = next(file for source, file in reversed(raw) if source == "events")
    pins = landed.lock.read_text()
    landed.settings.clock.parent.mkdir(exist_ok=True)
    Clock.stopped(landed.params.as_of).save(landed.settings.clock)
    kept = [pin for pin in yaml.safe_load(pins) if not pin["fetch"].endswith(late.name)]
    landed.lock.write_text(yaml.safe_dump(kept))
    refresh(landed.params, landed.settings)
    before = rows_at(landed.settings.snapshots, landed.params.as_of)
    landed.lock.write_text(pins)
    refresh(landed.params, landed.settings)
    after = rows_at(landed.settings.snapshots, landed.params.as_of)
    assert before != after
    assert len({named.tick for named in Named.all(landed.settings.snapshots)}) == len(
        Named.all(landed.settings.snapshots)
    )


def test_refresh_goes_as_far_as_the_clock(landed: Workspace) -> None:
    clock, folder = landed.settings.clock, landed.settings.snapshots
    for moment in (FIRST + timedelta(minutes=7), FIRST + timedelta(minutes=44)):
        Clock.stopped(moment).save(clock)
        refresh(landed.params, landed.settings)
        assert Named.all(folder)[-1].tick <= moment < Named.all(folder)[-1].tick + TICK
    assert [named.tick for named in Named.all(folder)] == [FIRST - TICK + n * TICK for n in range(4)]


@pytest.mark.parametrize("place", [0, 2, -1])
def test_a_damaged_snapshot_is_made_anew(built: Workspace, problem: Problem, tmp_path: Path, place: int) -> None:
    until = FIRST + 3 * TICK
    for each in (FIRST, until):
        write_due(known(built, problem, each), tmp_path, kept=5)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 5
    Named.all(tmp_path)[place].path.write_bytes(b"damaged")
    assert write_due(known(built, problem, until), tmp_path, kept=5) != []
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert write_due(known(built, problem, until), tmp_path, kept=5) == []


def test_a_damaged_snapshot_of_a_tick_to_come_changes_nothing(
    built: Workspace, problem: Problem, tmp_path: Path
) -> None:
    write_due(known(built, problem, FIRST + 10 * TICK), tmp_path, kept=5)
    Named.all(tmp_path)[-1].path.write_bytes(b"damaged")
    written = write_due(known(built, problem, FIRST), tmp_path, kept=5)
    assert [named.path for named in Named.all(tmp_path)] == written
    assert [named.tick for named in Named.all(tmp_path)] == [FIRST - TICK, FIRST]


def test_a_damaged_snapshot_of_other_sql_is_made_anew_once(
    built: Workspace, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = FIRST + 3 * TICK
    for each in (FIRST, until):
        write_due(known(built, problem, each), tmp_path, kept=5)
    monkeypatch.setattr(duckdb, "__version__", "another")
    (first, second, third, *_) = Named.all(tmp_path)
    third.path.write_bytes(b"damaged")
    written = write_due(known(built, problem, until), tmp_path, kept=5)
    assert [named.path for named in Named.all(tmp_path)] == [first.path, second.path, *written]
    assert [named.tick for named in Named.all(tmp_path)] == [FIRST + n * TICK for n in range(-1, 4)]
    assert write_due(known(built, problem, until), tmp_path, kept=5) == []


def test_a_damaged_snapshot_is_refused(followed: Path, tmp_path: Path) -> None:
    whole = Named.all(followed)[0].path
    damaged = tmp_path / whole.name
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(SnapshotError, match="was damaged"):
        Snapshot.open(damaged)
    with pytest.raises(SnapshotError, match="is no snapshot"):
        Snapshot.open(tmp_path / "something")


def test_keys_of_any_type_are_found_and_one_that_is_too_long_is_told(tmp_path: Path) -> None:
    tick = datetime(2024, 1, 1)  # noqa: DTZ001
    rows: dict[str, dict[Values, Values]] = {"a.b": {("Ünï", -5): (1.5, None), (None, 2**62): ("x", True)}, "c.d": {}}
    names = {"a.b": (("k", "l"), ("v", "w")), "c.d": (("k",), ("v",))}
    made = Snapshot.open(write_snapshot(tmp_path, About(tick, names, "by"), rows))
    assert made.rows() == rows
    assert made.row("a.b", ("Ünï", -5)) == (1.5, None)
    assert made.row("c.d", ("Ünï",)) is None
    assert (made.tick, made.about.made_of) == (tick, "by")
    with pytest.raises(ProblemError, match="longer than"):
        write_snapshot(tmp_path, About(tick, names), {**rows, "c.d": {("k" * 600,): (1,)}})
    assert len(list(tmp_path.iterdir())) == 1
