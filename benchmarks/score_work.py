"""Score the same rows by ours, by engines alone and by a peer; print how long it took once all was imported and loaded.

The engines and the peer get ready inputs; ours gets requests, and has to read, check, look up and write as well.

Example: python benchmarks/score_work.py prepare FOLDER 10; python benchmarks/score_work.py ours FOLDER --engine onnx
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import flows  # noqa: F401 - pins the processor before numpy is there

# isort: split
import numpy as np
import polars as pl

from flows.score import score
from tandem import boosting
from tandem.bundle import Bundle
from tandem.params import Params
from tandem.problem import load_problem
from tandem.processor import THREADS
from tandem.settings import Settings
from tandem.warehouse import Warehouse
from tasks.onnx import onnx_session
from tasks.requests import SLICE
from tasks.score import Engine, Wanted
from tasks.splits import matrix
from tasks.training_set import requests_of

params, settings = Params.load(), Settings.load()
data = settings.of(params.problem)
bundle = Bundle.open(data / "bundle")


def prepare(folder: Path, times: int) -> None:
    """Write all requests of the training set so many times over, their inputs, and the model as MLflow has it."""
    spec = bundle.spec
    with Warehouse.open(data / "facts", bundle.as_of, spec.grid.tick) as warehouse:
        asked = requests_of(load_problem(params.problem), warehouse, spec.grid).drop("due")
    pl.concat([asked] * times).write_parquet(folder / "moments.parquet")
    pl.concat([asked] * times).drop("moment").write_parquet(folder / "now.parquet")
    ready = matrix(pl.read_parquet(data / "training_set" / "rows.parquet"), spec.names)
    np.save(folder / "ready.npy", np.ascontiguousarray(ready))

    import mlflow.xgboost  # noqa: PLC0415 - 3 s, which only what is MLflow's should wait for

    mlflow.xgboost.save_model(boosting.read_booster(bundle.folder / "model.json"), str(folder / "mlflow"))


def ours(folder: Path, table: str, engine: Engine) -> Callable[[], object]:
    """Read, check, look up, score and write."""
    wanted = Wanted(str(folder / f"{table}.parquet"), folder / "scores.parquet", engine)
    return lambda: score(wanted, None, params, settings, lambda _: None)


def alone(folder: Path, engine: str) -> Callable[[], object]:
    """Run an engine over ready inputs in slices as ours are, on as many threads."""
    ready, times = np.load(folder / "ready.npy"), rows_of(folder)
    starts = list(range(0, len(ready), SLICE)) * (times // len(ready))
    if engine == "xgboost":
        booster = boosting.read_booster(bundle.folder / "model.json")
        return lambda: [boosting.predict(booster, ready[start : start + SLICE]) for start in starts]
    run = onnx_session(bundle.folder / "model.onnx")
    pool = ThreadPoolExecutor(THREADS)  # a thread in each run: two would change last bits
    return lambda: list(pool.map(lambda start: run(ready[start : start + SLICE]), starts))


def pyfunc(folder: Path) -> Callable[[], object]:
    """Run MLflow's own batch prediction over ready inputs."""
    import mlflow.pyfunc  # noqa: PLC0415

    model, ready = mlflow.pyfunc.load_model(str(folder / "mlflow")), np.load(folder / "ready.npy")
    frame = pl.from_numpy(ready, schema=list(bundle.spec.names)).to_pandas()
    return lambda: [model.predict(frame) for _ in range(rows_of(folder) // len(ready))]


def rows_of(folder: Path) -> int:
    """Count the rows that ours scores."""
    return int(pl.scan_parquet(folder / "now.parquet").select(pl.len()).collect().item())


def main() -> None:
    """Read the command line, and work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "ours", "xgboost", "onnx", "mlflow"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("times", type=int, nargs="?", default=10)
    parser.add_argument("--table", choices=("moments", "now"), default="moments")
    parser.add_argument("--engine", choices=("xgboost", "onnx"), default="xgboost")
    given = parser.parse_args()
    if given.what == "prepare":
        prepare(given.folder, given.times)
        sys.exit()
    if given.what == "ours":
        work = ours(given.folder, given.table, given.engine)
    else:
        work = pyfunc(given.folder) if given.what == "mlflow" else alone(given.folder, given.what)
    start = time.perf_counter()
    work()
    print(f"work {time.perf_counter() - start}")


if __name__ == "__main__":
    main()
