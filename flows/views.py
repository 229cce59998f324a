"""Stage `views`: all that is known to feature views, each value with the tick from which it was true."""

from tandem.files import atomic_folder
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import entry, operation
from tandem.settings import Settings
from tandem.warehouse import Warehouse
from tasks.views import write_views


@operation
def views(params: Params, settings: Settings) -> None:
    """Run every view over the facts known at `as_of`."""
    problem = load_problem(params.problem)
    data = settings.of(problem.name)
    with (
        atomic_folder(data / "views") as folder,
        Warehouse.open(data / "facts", params.as_of, params.features.tick, into=folder) as warehouse,
    ):
        write_views(problem, warehouse, folder)


if __name__ == "__main__":
    entry(views)
