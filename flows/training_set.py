"""Stage `training_set`: requests as they would have been made, with what was known then, and their labels."""

from tandem.files import atomic_folder, write_json
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import entry, operation
from tandem.settings import Settings
from tandem.warehouse import COMPRESSION, ROW_GROUP, Desk, Warehouse
from tasks.training_set import (
    describe,
    labels_of,
    requests_of,
    summary,
    with_features,
    with_split,
    with_views,
)
from tasks.views import read_specs


@operation
def training_set(params: Params, settings: Settings) -> None:
    """Join requests, views at their due tick, request features and labels; say what each row is for."""
    problem = load_problem(params.problem)
    data = settings.of(problem.name)
    spec = describe(problem, read_specs(data / "views"), params)
    with Warehouse.open(data / "facts", params.as_of, params.features.tick) as warehouse:
        asked = requests_of(problem, warehouse, params.features)
        labels = labels_of(asked, problem, warehouse)
    with Desk.at() as desk:  # one of its own: what the other took is given back
        features = with_features(with_views(asked, spec, desk, data / "views"), spec, desk)
    rows = with_split(features, labels, params.split, params.as_of)
    with atomic_folder(data / "training_set") as folder:
        rows.write_parquet(folder / "rows.parquet", row_group_size=ROW_GROUP, compression=COMPRESSION)
        spec.save(folder / "features.json")
    write_json(data / "reports" / "training_set.json", summary(rows, spec))


if __name__ == "__main__":
    entry(training_set)
