"""Refresh what serving knows: take in what has landed, and write the snapshot of every tick that is due."""

from pathlib import Path

from tandem.clock import Clock, floor
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import operation
from tandem.schedule import REFRESH, alone, ended
from tandem.settings import Settings
from tasks.ingest import all_parts, facts_in_cache
from tasks.landing import landed_files
from tasks.snapshots import Knowledge, write_due


@operation
def refresh(params: Params, settings: Settings) -> list[Path]:
    """Bring the snapshots up to world time.

    Raises:
        BusyError: another one is at it.

    """
    problem = load_problem(params.problem)
    with alone(settings.schedule, REFRESH):
        now = Clock.of(problem, params, settings).now()
        landed = landed_files(Pins.load(settings.data / "sources.lock"), problem, settings.landing)
        parts = all_parts(landed, problem, settings.cache)
        facts = facts_in_cache(parts, problem, settings.cache)
        known = Knowledge(problem, facts, params.features, floor(now, params.features.tick))
        written = write_due(known, settings.snapshots, settings.snapshots_kept)
        ended(settings.schedule, REFRESH, now, known.until)
    return written
