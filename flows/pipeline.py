"""Walk the pipeline's graph: run what changed, side by side where the graph allows, and show it while it goes on."""

from datetime import timedelta
from pathlib import Path

from tandem.clock import Clock, floor
from tandem.graph import StageRun
from tandem.params import PARAMS, Params, set_as_of
from tandem.problem import load_problem
from tandem.run import operation
from tandem.settings import Settings
from tasks.progress import shown
from tasks.walk import walk


@operation
def pipeline(*, force: bool = False, advance: bool = False) -> list[StageRun]:
    """Run each stage whose inputs changed, as `dvc repro` does; as of the last closed day if it is to advance."""
    if advance:
        params = Params.load()
        now = Clock.of(load_problem(params.problem), params, Settings.load()).now()
        set_as_of(PARAMS, floor(now, timedelta(days=1)))
    with shown() as show:
        return walk(Path(), show, force=force)
