"""Train as of many days, and judge each model by what came later: how a model ages.

It happens in a copy of the tree below var/backfill/, with the caches of this one; params, data and dvc.lock here stay
as they are. A bundle that is there is not made again, so that a study that was killed goes on where it was.
"""

import shutil
from collections.abc import Sequence
from contextlib import chdir
from datetime import datetime
from pathlib import Path

from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.errors import ParamsError
from tandem.files import write_text
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import operation
from tandem.schedule import alone
from tandem.settings import Settings
from tandem.staleness import Study
from tasks.backfill import (
    aged,
    described,
    keep,
    kept,
    lay_out,
    params_of,
    shared,
    study_of,
    write_params,
    write_study,
)
from tasks.backtest import future_rows
from tasks.ingest import all_parts, facts_in_cache
from tasks.landing import landed_files
from tasks.progress import say, shown
from tasks.report import study_page
from tasks.walk import walk


@operation
def backfill(settings: Settings, days: Sequence[datetime], *, tune: bool) -> Study:
    """Give the study; all of it is kept in a folder of its own.

    Raises:
        ParamsError: one of the days has not come.
        BusyError: another one is at it.
        StageError: there is no model as of one of the days.

    """
    params = Params.load()
    problem = load_problem(params.problem)
    now = Clock.of(problem, params, settings).now()
    if days[-1] > now:
        late = f"as of {days[-1]:%Y-%m-%d %H:%M} nothing is known yet: in the world it is {now:%Y-%m-%d %H:%M}"
        msg = f"{late}, which `tandem clock set MOMENT` changes"
        raise ParamsError(msg)
    folder = settings.var / "backfill" / study_of(Path(), params, days[0], tune=tune)
    with alone(settings.schedule, "backfill"):
        bundles: list[Bundle] = []
        for day in days:
            there = kept(folder / f"{day:%Y-%m-%dT%H%M}")
            if there is None:
                say(f"as of {day:%Y-%m-%d %H:%M}", event="as of", as_of=day.isoformat())
                first = bundles[0] if bundles and not tune else None
                there = _made(folder, params_of(day, params, first), settings)
            bundles.append(there)
        shutil.rmtree(folder / "work", ignore_errors=True)
        landed = landed_files(Pins.load(settings.data / "sources.lock"), problem, settings.landing)
        facts = facts_in_cache(all_parts(landed, problem, settings.cache), problem, settings.cache)
        rows = future_rows(problem, bundles[0], facts, now)
        study = Study(described(bundles, params), aged(rows, bundles, params.evaluate.bins))
        write_study(study, folder)
        write_text(folder / "study.html", study_page(study, params.problem))
        for name in ("study.json", "study.html"):
            say(f"wrote {folder / name}", event="wrote", path=str(folder / name))
    return study


def _made(folder: Path, params: Params, settings: Settings) -> Bundle:
    work = folder / "work"
    lay_out(Path(), work)
    write_params(params, work)
    beside = shared(settings)
    with chdir(work), shown() as show:  # DVC works where it is
        walk(Path(), show, force=False, nested=settings.nested, beside=beside)
    return keep(work / "data" / params.problem / "bundle", folder / f"{params.as_of:%Y-%m-%dT%H%M}")
