"""Stage `train`: the model by the study's best params, the baselines, and all their scores on the held-out rows."""

import json

from tandem.files import atomic_folder, made, write_json
from tandem.params import Params, TrainParams
from tandem.run import entry, operation
from tandem.settings import Settings
from tasks.splits import part, read_rows
from tasks.train import fit_booster, fit_simple, importance, inputs_of, prepare, scored, write_models


@operation
def train(params: Params, settings: Settings) -> None:
    """Fit, score, write."""
    root = settings.of(params.problem)
    rows, spec = read_rows(root / "training_set")
    best = TrainParams.model_validate(json.loads(made(root / "tune" / "best.json", "tune").read_text())["params"])
    chosen = {"model": best, "defaults": params.train} | dict.fromkeys(spec.baselines, params.train)
    inputs = {name: inputs_of(name, spec) for name in chosen}
    data = {names: prepare(rows, names) for names in set(inputs.values())}
    boosters = {name: fit_booster(data[inputs[name]], each, params.tune) for name, each in chosen.items()}
    simple = fit_simple(rows, spec)
    with atomic_folder(root / "model") as folder:
        write_models(boosters, simple, folder)
        write_json(folder / "importance.json", importance(boosters["model"], spec))
        scored(part(rows, "test"), spec, boosters, simple).write_parquet(folder / "scores.parquet")


if __name__ == "__main__":
    entry(train)
