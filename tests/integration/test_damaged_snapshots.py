"""A snapshot that is damaged, gone or made anew under a worker: it answers on from what can be read, and says so."""

import shutil
from pathlib import Path

import pytest
from answering import Answering

from tandem.bundle import Bundle
from tandem.problem import load_problem
from tandem.snapshots import PAGE, Named

EXAMPLE = load_problem("parcels").example()
NEW = EXAMPLE | {"courier": "c01"}
"""Whose keys are not remembered, so that a page is read."""


class Harmed:
    """A worker's core and the newest snapshot that it answers from, to be harmed."""

    def __init__(self, bundle: Bundle, snapshots: Path, folder: Path) -> None:
        self.folder, self.bundle, self.grid = folder, bundle, bundle.spec.grid
        shutil.copytree(snapshots, folder / "snapshots")
        newest = Named.all(folder / "snapshots")[-1]
        self.path, self.whole, self.due = newest.path, newest.path.read_bytes(), newest.tick + self.grid.lag

    def begin(self) -> Answering:
        return Answering(self.bundle.folder, self.path.parent, self.due)

    def damage(self, start: int) -> None:
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(bytes(len(self.whole) - start))

    def make_anew(self) -> None:
        """Put it in its place as refresh does."""
        (self.folder / "anew").write_bytes(self.whole)
        (self.folder / "anew").rename(self.path)

    def lateness(self, answering: Answering, instance: dict[str, object] = EXAMPLE) -> float:
        (told,) = answering.ask([instance])
        late = told.lateness if told.stale else 0.0
        assert isinstance(late, float)
        return late

    @property
    def tick(self) -> float:
        return self.grid.tick.total_seconds()


@pytest.fixture
def harmed(bundle: Bundle, snapshots: Path, tmp_path: Path) -> Harmed:
    return Harmed(bundle, snapshots, tmp_path)


def test_it_is_left_out_and_an_older_one_is_stale_until_it_is_whole(
    harmed: Harmed, caplog: pytest.LogCaptureFixture
) -> None:
    harmed.damage(0)
    answering = harmed.begin()
    assert harmed.lateness(answering) == harmed.tick
    answering.watched.look(answering.moment)
    assert caplog.text.count("a snapshot is left out") == 1
    harmed.make_anew()
    answering.watched.look(answering.moment)
    assert harmed.lateness(answering) == 0


def test_one_that_is_damaged_while_it_answers_is_left_out_too(harmed: Harmed, caplog: pytest.LogCaptureFixture) -> None:
    answering = harmed.begin()
    assert harmed.lateness(answering) == 0
    harmed.damage(2 * PAGE)
    assert harmed.lateness(answering, NEW) == harmed.tick
    assert caplog.text.count("a snapshot is left out") == 1
    harmed.make_anew()
    answering.watched.look(answering.moment)
    assert harmed.lateness(answering) == 0


@pytest.mark.parametrize("looks", [True, False])
def test_one_that_was_made_anew_before_anybody_met_the_damage_is_the_new_one(*, looks: bool, harmed: Harmed) -> None:
    answering = harmed.begin()
    assert harmed.lateness(answering) == 0
    harmed.damage(2 * PAGE)
    harmed.make_anew()
    if looks:
        answering.watched.look(answering.moment)
    assert harmed.lateness(answering, NEW) == 0
    assert [each.ground.lateness for each in answering.explained([NEW])] == [0]


def test_one_that_cannot_be_opened_is_left_out_until_it_can(harmed: Harmed, caplog: pytest.LogCaptureFixture) -> None:
    answering = harmed.begin()
    harmed.path.unlink()
    harmed.path.mkdir()  # what not even root can read
    for _ in range(3):
        answering.watched.look(answering.moment)
    assert harmed.lateness(answering, NEW) == harmed.tick
    assert caplog.text.count("a snapshot is left out") == 1
    harmed.path.rmdir()
    harmed.make_anew()
    answering.watched.look(answering.moment)
    assert harmed.lateness(answering) == 0


def test_who_asks_for_explanations_meets_the_damage_too(harmed: Harmed) -> None:
    answering = harmed.begin()
    answering.explained([EXAMPLE])
    harmed.damage(2 * PAGE)
    (row,) = answering.explained([NEW])
    assert row.ground.lateness == harmed.tick
