"""Write the catalogue of features."""

from pathlib import Path

from tandem.files import write_text
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import operation
from tandem.settings import Settings
from tasks.catalogue import catalogue as written
from tasks.catalogue import facts_of, read_last_run


@operation
def catalogue(params: Params, settings: Settings, target: Path) -> Path:
    """Describe the features as the last run made them."""
    problem = load_problem(params.problem)
    last = read_last_run(settings.of(problem.name))
    return write_text(target, written(last, facts_of(problem, last.spec), params))
