"""Raced and cut off: of all who act at once one wins, and what a killed process left is completed by the next.

More of it: RACERS=32 RACES=200 pytest tests/e2e/test_races.py
"""

import multiprocessing
import os
import random
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from conftest import AS_OF, Workspace
from published import digest, four_versions, opened, whole

from flows.publish import publish
from tandem import ledger
from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.errors import ConflictError
from tandem.registry import Registry, State
from tandem.settings import Settings

RACERS, RACES = int(os.environ.get("RACERS", "8")), int(os.environ.get("RACES", "12"))
PRELOADED = ["mlflow", "flows.publish"]  # 4 s, once


@pytest.fixture
def settings(tracked: Settings) -> Settings:
    return four_versions(tracked)


@pytest.fixture
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


def race(settings: Settings, number: int, barrier: Barrier, races: int) -> None:
    """One of those who all decide on the same state and then act at once."""
    registry = Registry("p", settings, Clock.stopped(AS_OF))
    draw = random.Random(number)  # noqa: S311
    for _ in range(races):
        before = registry.state()
        free = [digest(n) for n in range(1, 5) if digest(n) != before.champion]
        barrier.wait()
        with suppress(ConflictError):
            registry.change("promote", before, State(champion=draw.choice(free)), f"by {number}")
        barrier.wait()


def test_of_a_race_there_is_one_winner_and_no_gap(settings: Settings) -> None:
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload(PRELOADED)
    barrier = apart.Barrier(RACERS)
    racers = [apart.Process(target=race, args=(settings, number, barrier, RACES)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    events = list(ledger.rows(settings.var / "ledger" / "audit" / "0"))
    assert [event["number"] for event in events] == list(range(1, RACES + 1))
    assert [event["state"]["generation"] for event in events] == list(range(1, RACES + 1))
    registry = Registry("p", settings, Clock.stopped(AS_OF))
    champion = registry.settle().champion
    assert champion == events[-1]["state"]["champion"]
    assert registry.find("champion").digest == champion
    assert int(registry.client.get_model_version_by_alias("p", "champion").version) == registry.find("champion").version


def racer(settings: Settings, folder: Path) -> None:
    os.chdir(settings.var)
    publish(opened(settings), Bundle.open(folder), settings)


def test_many_who_publish_at_once_make_one_version_and_one_run(bundle: Bundle, tracked: Settings) -> None:
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload(PRELOADED)
    racers = [apart.Process(target=racer, args=(tracked, bundle.folder)) for _ in range(RACERS)]
    for each in racers:
        each.start()
    for each in racers:
        each.join()
    assert [each.exitcode for each in racers] == [0] * RACERS
    registry = opened(tracked)
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


def test_cut_off_anywhere_it_is_completed_by_the_next(bundle: Bundle, tracked: Settings) -> None:
    apart = multiprocessing.get_context("forkserver")
    apart.set_forkserver_preload(PRELOADED)
    calls, code = 0, 9
    while code == 9:
        process = apart.Process(target=cut_off, args=(tracked, bundle.folder, calls))
        process.start()
        process.join()
        code, calls = process.exitcode or 0, calls + 2
    assert code == 0
    assert calls > 10, "it was cut off at many places"
    registry = opened(tracked)
    whole(registry, bundle)
    assert registry.settle() == State(generation=1, champion=bundle.digest)
