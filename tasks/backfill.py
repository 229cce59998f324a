"""The staleness study: a model as of each of many days, made beside the working tree, and judged by what came later."""

import csv
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from tandem.baselines import Scores
from tandem.bundle import Bundle
from tandem.errors import MissingError
from tandem.evaluation import Evaluation
from tandem.files import atomic, atomic_folder, canonical_json, digest_of, sha256_of, write_json, write_text
from tandem.graph import Graph
from tandem.metrics import figures
from tandem.params import PARAMS, GateParams, Params, TrainParams
from tandem.run import step
from tandem.settings import PREFIX, Settings
from tandem.staleness import Aged, Study
from tasks.backtest import scores_of
from tasks.bundle import source_files
from tasks.evaluate import judge

OPEN = GateParams(rows=0, auc=0.0, margins={}, worst_slice_auc=0.0, ece=1.0, slice_ece=1.0)
"""Each day has its model, good or bad; what the project's own gates say of it stands beside."""
CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n[cache]\n    dir = {}\n"


def study_of(root: Path, params: Params, first: datetime, *, tune: bool) -> str:
    """Name a study by all that its bundles follow from but the day: so that it goes on only with bundles of its own.

    Of the first day are the params of all others, unless each looks for its own.
    """
    code = [sha256_of(path) for path in source_files(root) if path.name != PARAMS.name]
    return digest_of(*code, canonical_json(params.model_dump(mode="json", exclude={"as_of"})), str(tune or first))[:12]


@step
def lay_out(root: Path, folder: Path) -> None:
    """Copy the source into a folder of its own, whose stages share the caches; it may be there from a killed run."""
    for path in source_files(root):
        target = folder / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(root / ".dvcignore", folder / ".dvcignore")
    (folder / ".dvc").mkdir(exist_ok=True)
    write_text(folder / ".dvc" / "config", CONFIG.format(Graph(root).cache))


def shared(settings: Settings) -> dict[str, str]:
    """Give the environment in which stages work in their own data and with this workspace's landing and caches."""
    told = {"DATA": "data", "VAR": str(settings.var.absolute()), "TRACKING_URI": ""}
    return {PREFIX + name: value for name, value in told.items()}


def params_of(day: datetime, params: Params, first: Bundle | None) -> Params:
    """Give the params of a day: by default those that the study as of the first day found, for all days after it."""
    dated = params.model_copy(update={"as_of": day, "gates": OPEN})
    if first is None:
        return dated
    done = [trial for trial in first.json("trials.json") if trial["state"] == "complete"]
    best = min(done, key=lambda trial: float(trial["loss"]))
    train = TrainParams.model_validate({name: best[name] for name in TrainParams.model_fields})
    return dated.model_copy(update={"train": train, "tune": params.tune.model_copy(update={"trials": 1})})


def write_params(params: Params, folder: Path) -> None:
    """Write params.yaml of a copy of the tree."""
    write_text(folder / PARAMS, yaml.safe_dump(params.model_dump(mode="json"), sort_keys=False))


def kept(folder: Path) -> Bundle | None:
    """Open a bundle that an earlier run made; None: it made none."""
    try:
        return Bundle.open(folder)
    except MissingError:
        return None


@step
def keep(made: Path, folder: Path) -> Bundle:
    """Take a bundle out of the copy of the tree."""
    with atomic_folder(folder) as temporary:
        shutil.copytree(made, temporary, dirs_exist_ok=True)
    return Bundle.open(folder)


def failing(bundle: Bundle, params: Params) -> list[str]:
    """Name the project's gates that would have refused a bundle."""
    said = Evaluation.model_validate(bundle.json("reports/evaluation.json"))
    gates = judge(said.overall, said.baselines, said.slices, params.gates)
    return [gate.name for gate in gates if gate.verdict == "fail"]


@step
def aged(rows: pl.DataFrame, bundles: Sequence[Bundle], bins: int) -> tuple[Aged, ...]:
    """Judge all models of each age, in whole weeks, on what was asked then, beside the newest model of each request.

    The models are in the order of their days.
    """
    numbered = rows.with_row_index("row")
    said = pl.concat(_said(numbered, number, bundle) for number, bundle in enumerate(bundles))
    said = said.with_columns(newest=pl.col("score").last().over("row"))
    return tuple(_at(said.filter(pl.col("weeks") == weeks), weeks, bins) for weeks in said["weeks"].unique().sort())


def _said(rows: pl.DataFrame, number: int, bundle: Bundle) -> pl.DataFrame:
    """Score what was asked from a model's day on."""
    later = rows.filter(pl.col("moment") >= bundle.as_of)
    scores: Sequence[float] | Scores = scores_of(bundle, later)["model"] if later.height else ()
    return later.select(
        "row",
        "label",
        model=pl.lit(number),
        weeks=(pl.col("moment") - bundle.as_of).dt.total_days() // 7,
        score=pl.Series(scores, dtype=pl.Float64),
    )


def _at(said: pl.DataFrame, weeks: int, bins: int) -> Aged:
    ours, theirs = (figures(said["label"].to_numpy(), said[name].to_numpy(), bins) for name in ("score", "newest"))
    return Aged(
        weeks=weeks,
        models=said["model"].n_unique(),
        rows=ours.rows,
        auc=ours.auc,
        log_loss=ours.log_loss,
        ece=ours.ece,
        newest_auc=theirs.auc,
        newest_log_loss=theirs.log_loss,
    )


def described(bundles: Sequence[Bundle], params: Params) -> tuple[dict[str, Any], ...]:
    """Say of each model how good it was on what it was tested on."""
    found = []
    for bundle in bundles:
        overall: Mapping[str, Any] = bundle.json("reports/evaluation.json")["overall"]
        told = {name: overall[name] for name in ("rows", "auc", "log_loss", "ece")}
        day = bundle.as_of.isoformat()
        found.append({"as_of": day, "digest": bundle.digest, **told, "failing": failing(bundle, params)})
    return tuple(found)


@step
def write_study(study: Study, folder: Path) -> None:
    """Write the study for programs: study.json, all of it, and ages.csv, how models age."""
    facts = study.facts()
    lines = facts["ages"]
    write_json(folder / "study.json", facts)
    with atomic(folder / "ages.csv") as temporary, temporary.open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(lines[0]) if lines else [])
        table.writeheader()
        table.writerows(lines)
