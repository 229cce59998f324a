"""Walk the pipeline's graph: run what changed, side by side where the graph allows, and show it while it goes on."""

from datetime import datetime
from pathlib import Path

from tandem.clock import Clock, floor
from tandem.graph import StageRun
from tandem.params import PARAMS, Params, set_as_of
from tandem.problem import load_problem
from tandem.run import operation
from tandem.schedule import DAY
from tandem.settings import Settings
from tasks.progress import shown
from tasks.walk import walk


@operation
def pipeline(*, force: bool = False, as_of: datetime | None = None) -> list[StageRun]:
    """Run each stage whose inputs changed, as `dvc repro` does; as of another day than before, if one is given."""
    if as_of:
        set_as_of(PARAMS, as_of)
    with shown() as show:
        return walk(Path(), show, force=force, nested=Settings.load().nested)


def last_closed_day() -> datetime:
    """Give the end of the last day of world time that is over."""
    params = Params.load()
    return floor(Clock.of(load_problem(params.problem), params, Settings.load()).now(), DAY)
