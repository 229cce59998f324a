"""Stage `bundle`: all that is needed to answer, to judge and to rebuild; refused when a gate failed."""

import json
from pathlib import Path

from tandem.boosting import read_booster
from tandem.bundle import seal
from tandem.card import CARD, written
from tandem.files import atomic_folder, made, write_json, write_text
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import entry, operation
from tandem.settings import Settings
from tasks.bundle import (
    check_example,
    check_gates,
    copy_models,
    reference,
    write_contracts,
    write_decision,
    write_inputs,
    write_source,
)
from tasks.card import Reports, check_card, model_card
from tasks.golden import golden, rehearse
from tasks.onnx import write_onnx
from tasks.splits import read_rows


@operation
def bundle(params: Params, settings: Settings) -> None:
    """Check the gates, convert the model, let it answer golden requests, and seal the folder."""
    problem = load_problem(params.problem)
    data = settings.of(problem.name)
    evaluation = json.loads(made(data / "reports" / "evaluation.json", "evaluate").read_text())
    check_gates(evaluation)
    check_example(problem)
    said = written(problem)
    rows, spec = read_rows(data / "training_set")
    booster = read_booster(data / "model" / "model.json")
    with atomic_folder(data / "bundle") as folder:
        copy_models(data, folder)
        model = write_onnx(booster, folder / "model.onnx")
        cases = golden(problem, spec, data / "views", booster, params)
        rehearse(cases, model)
        write_json(folder / "golden.json", cases)
        counts, sample = reference(rows, spec, params.tune.seed)
        write_json(folder / "reference.json", counts)
        sample.write_parquet(folder / "reference.parquet")
        write_contracts(problem, folder)
        write_decision(params, folder)
        write_inputs(problem, params, data, folder)
        write_source(Path(), folder / "source.tar")
        write_text(folder / CARD, check_card(model_card(said, Reports.read(folder))))
        seal(folder, {"tandem.problem": problem.name, "tandem.as_of": params.as_of.isoformat()})


if __name__ == "__main__":
    entry(bundle)
