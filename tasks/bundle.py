"""Put a bundle together, or refuse to."""

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from pydantic import ValidationError

from tandem.contracts import json_schema
from tandem.errors import GateError, ProblemError
from tandem.features import FeatureSpec
from tandem.files import atomic, sha256_of, write_json
from tandem.landing import Pins
from tandem.params import Params, wrong_in
from tandem.problem import EXAMPLE, Problem
from tandem.run import step

REFERENCE = 5_000
TENTHS = [n / 10 for n in range(1, 10)]


@step
def check_gates(evaluation: dict[str, Any]) -> None:
    """Refuse to go on if a gate failed.

    Raises:
        GateError: with each failed gate's reason.

    """
    failed = [gate for gate in evaluation["gates"] if gate["verdict"] != "pass"]
    if failed:
        reasons = "\n".join(f"  {gate['name']}: {gate['reason']}" for gate in failed)
        msg = f"no bundle: {len(failed)} of {len(evaluation['gates'])} gates failed\n{reasons}"
        raise GateError(msg)


@step
def check_example(problem: Problem) -> None:
    """Refuse to go on if the request that stands for all others is none.

    Raises:
        ProblemError: with each field that is not what the contract says.

    """
    try:
        problem.contracts.Request.to_pydantic_model().model_validate_json(
            problem.text(EXAMPLE), strict=True, extra="forbid"
        )
    except ValidationError as exc:
        msg = f"{EXAMPLE} of problem {problem.name} is no Request of contracts.py: {'; '.join(wrong_in(exc))}"
        raise ProblemError(msg) from exc


@step
def reference(rows: pl.DataFrame, spec: FeatureSpec, seed: int) -> tuple[dict[str, Any], pl.DataFrame]:
    """Count each input's values on the rows that were fitted, by tenths, with their range; and draw a sample."""
    fitted = rows.filter(pl.col("split") == "fit")
    counts: dict[str, Any] = {}
    for name in spec.names:
        column = fitted[name].cast(pl.Float64).fill_nan(None).drop_nulls()
        edges = sorted({round(edge or 0.0, 6) for edge in column.quantile(TENTHS)}) if len(column) else []
        places = np.searchsorted(np.array(edges), column.to_numpy(), side="right")
        counts[name] = {
            "edges": edges,
            "counts": np.bincount(places, minlength=len(edges) + 1).tolist(),
            "nulls": fitted.height - len(column),
            "least": column.min(),
            "most": column.max(),
        }
    drawn = np.sort(np.random.default_rng(seed).permutation(fitted.height)[:REFERENCE])
    return {"rows": fitted.height, "inputs": counts}, fitted[drawn].select(spec.names)


def source_files(root: Path) -> list[Path]:
    """List the source that made a bundle: what the pipeline's stages depend on, and what states them."""
    stages = yaml.safe_load((root / "dvc.yaml").read_text())["stages"].values()
    params = yaml.safe_load((root / "params.yaml").read_text())
    named = {dep.replace("${problem}", params["problem"]) for stage in stages for dep in stage["deps"]}
    named |= {"dvc.yaml", "params.yaml"}
    paths = [root / name for name in named if not name.startswith("data/") or name == "data/sources.lock"]
    found = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sorted(file for file in found if file.is_file() and "__pycache__" not in file.parts)


@step
def write_source(root: Path, target: Path) -> Path:
    """Pack the source in one way only: by name, without times, owners or modes."""
    with atomic(target) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in source_files(root):
            data = path.read_bytes()
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return target


@step
def write_contracts(problem: Problem, folder: Path) -> None:
    """Write what requests, facts and sources promise, as JSON Schema."""
    write_json(folder / "contract.json", json_schema(problem.contracts.Request))
    for name, contract in {**problem.contracts.FACTS, **problem.contracts.SOURCES}.items():
        write_json(folder / "contracts" / f"{name}.json", json_schema(contract))


@step
def write_inputs(problem: Problem, params: Params, data: Path, folder: Path) -> None:
    """Write what went in: params, the digest of every raw file, and of what the stages made of them."""
    pins = Pins.load(data.parent / "sources.lock")
    made = ["training_set/rows.parquet", "training_set/features.json", "tune/trials.json", "model/model.json"]
    made += [path.relative_to(data).as_posix() for path in sorted((data / "views").iterdir())]
    facts = {path.relative_to(data).as_posix(): sha256_of(path) for path in sorted((data / "facts").rglob("*.parquet"))}
    inputs = {
        "landing": {
            source.name: [pin.sha256 for pin in pins.of(problem.name, source.name)] for source in problem.sources
        },
        "environment": sha256_of(Path("requirements.lock")),
        "stages": facts | {name: sha256_of(data / name) for name in made},
    }
    write_json(folder / "inputs.json", inputs)
    write_json(folder / "params.json", params.model_dump(mode="json"))


@step
def write_decision(params: Params, folder: Path) -> None:
    """Write from which score on acting is cheaper, and what that follows from."""
    decision = {"threshold": params.costs.threshold, "costs": params.costs.model_dump(), "actions": ["none", "act"]}
    write_json(folder / "decision.json", decision)


@step
def copy_models(data: Path, folder: Path) -> None:
    """Take over what earlier stages made."""
    shutil.copytree(data / "model" / "baselines", folder / "baselines")
    for name in ("model/model.json", "model/importance.json", "training_set/features.json", "tune/trials.json"):
        shutil.copyfile(data / name, folder / Path(name).name)
    for name in ("evaluation", "training_set", "ingest"):
        (folder / "reports").mkdir(exist_ok=True)
        shutil.copyfile(data / "reports" / f"{name}.json", folder / "reports" / f"{name}.json")
