"""Score tables of requests slice by slice: the same scores as the server gives, and memory that does not grow."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from polars.io.plugins import register_io_source

from tandem import boosting
from tandem.bundle import Bundle
from tandem.columns import Floats
from tandem.errors import SnapshotError, SourceError
from tandem.files import atomic
from tandem.processor import THREADS
from tandem.run import step
from tandem.settings import Settings
from tandem.snapshots import Named, Snapshot
from tandem.warehouse import Desk
from tasks.known import Known
from tasks.onnx import onnx_session
from tasks.requests import MOMENT, TYPES, Gate, slices

Engine = Literal["xgboost", "onnx"]
"""XGBoost is the faster one, and within 1e-6 of the server's ONNX Runtime, which gives the server's own bits."""
BLOCK = 4096
"""Rows that are turned round and scored while the cache has them: both engines want a row's inputs side by side."""
Run = Callable[[Floats], Floats]
Show = Callable[[int], None]
MADE = {"score": pl.Float64(), "action": pl.String(), "bundle": pl.String(), "tick": pl.Datetime("us")}


@dataclass(frozen=True)
class Wanted:
    """What is to be scored, and how."""

    source: str
    target: Path
    engine: Engine = "xgboost"
    whole: bool = False
    """Whether all columns are kept, and not the keys alone."""
    skip: bool = False
    """Whether rows that break the contract are left out, and written beside."""
    at: datetime | None = None
    """The moment of rows that name none."""

    def __post_init__(self) -> None:
        """Keep what is scored.

        Raises:
            SourceError: the scores would be written over it.

        """
        if self.target.resolve() == Path(self.source).resolve():
            msg = f"{self.source} would be lost under its own scores: name another file to write"
            raise SourceError(msg)

    @property
    def quarantine(self) -> Path:
        """Where rows that break the contract are written."""
        return self.target.with_suffix(".quarantine.parquet")


@step
def newest_snapshot(bundle: Bundle, settings: Settings, moment: datetime) -> Snapshot:
    """Open the snapshot that a request of a moment is answered from.

    Raises:
        SnapshotError: there is none.

    """
    usable = [named for named in Named.all(settings.snapshots) if named.tick <= moment - bundle.spec.grid.lag]
    if not usable:
        msg = f"nothing is known at {moment}: `tandem refresh` writes what is"
        raise SnapshotError(msg)
    return Snapshot.open(usable[-1].path)


def engine_of(bundle: Bundle, name: Engine) -> Run:
    """Load the model for one thread; XGBoost's own parser is safe, for the bundle's digests were checked."""
    if name == "onnx":
        run = onnx_session(bundle.folder / "model.onnx")
    else:
        run = partial(boosting.predict, boosting.read_booster(bundle.folder / "model.json", threads=1))
    return lambda rows: np.concatenate(
        [run(np.ascontiguousarray(rows[start : start + BLOCK])) for start in range(0, len(rows), BLOCK)]
    )


class Worker(NamedTuple):
    """What one thread works with."""

    desk: Desk
    run: Run


class Scorer:
    """Scores slices of one table."""

    def __init__(self, wanted: Wanted, bundle: Bundle, gate: Gate, known: Known) -> None:
        """Read the decision once."""
        self._wanted, self._bundle, self._gate, self._known = wanted, bundle, gate, known
        decision = bundle.json("decision.json")
        self._threshold: float = decision["threshold"]
        self._actions: tuple[str, str] = tuple(decision["actions"])
        self._newest = known.columns.number(known.newest)

    def schema(self, columns: pl.Schema) -> dict[str, pl.DataType]:
        """Say what is written, for a table of these columns.

        Raises:
            SourceError: a column that is kept is called as one that is made.

        """
        typed = {name: TYPES[kind] for name, kind in self._gate.types.items()}
        moment = [MOMENT] if self._gate.timed else []
        kept = list(columns) if self._wanted.whole else [*moment, *self._bundle.spec.keys]
        if taken := [name for name in kept if name in MADE]:
            msg = f"{self._wanted.source} has a column {', '.join(taken)} of its own: rename it, or keep the keys alone"
            raise SourceError(msg)
        return {name: typed.get(name, columns.get(name, pl.Null())) for name in kept} | MADE

    def score(self, frame: pl.DataFrame, before: int, worker: Worker) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Score the rows of a slice that are requests; give them, and those that are none."""
        rows, refused = self._gate.admit(frame, before, worker.desk, skip=self._wanted.skip)
        if self._gate.timed:
            ticks = np.minimum(self._known.columns.ticks(rows[MOMENT]), self._newest)
        else:
            rows = rows.with_columns(pl.lit(self._wanted.at).cast(pl.Datetime("us")).alias(MOMENT))
            ticks = np.full(rows.height, self._newest)
        scores = worker.run(self._known.columns.inputs(rows, ticks, worker.desk)) if rows.height else np.empty(0)
        made = rows.with_columns(pl.Series("score", scores).cast(pl.Float64))
        otherwise, act = self._actions
        return made.with_columns(
            pl.when(pl.col("score") >= self._threshold).then(pl.lit(act)).otherwise(pl.lit(otherwise)).alias("action"),
            pl.lit(self._bundle.digest).alias("bundle"),
            self._known.columns.moments(ticks),
        ), refused


@step
def write_scores(rows: pl.LazyFrame, wanted: Wanted, scorer: Scorer, bundle: Bundle, show: Show) -> tuple[int, int]:
    """Score all rows and write them in one step, in their order; count them, and those that were left out."""
    schema, refused, counted = scorer.schema(rows.collect_schema()), 0, 0

    def made(*_: object) -> Iterator[pl.DataFrame]:
        nonlocal refused, counted
        for scored, bad in _scored(slices(wanted.source, rows), wanted, scorer, bundle):
            if bad.height:
                bad.write_parquet(parts / f"{refused:012}.parquet")
            counted, refused = counted + scored.height, refused + bad.height
            show(counted + refused)
            yield scored.select(list(schema))

    with atomic(wanted.target) as temporary, TemporaryDirectory(prefix=".tandem-", dir=temporary.parent) as folder:
        parts = Path(folder)
        register_io_source(made, schema=schema).sink_parquet(temporary, maintain_order=True)
        wanted.quarantine.unlink(missing_ok=True)
        if refused:
            with atomic(wanted.quarantine) as beside:
                pl.scan_parquet(parts / "*.parquet").sink_parquet(beside)
    return counted, refused


def _scored(
    frames: Iterator[pl.DataFrame], wanted: Wanted, scorer: Scorer, bundle: Bundle
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Score slices side by side, and give them in their order; no more are in memory than are worked at, and one."""
    waiting: deque[Future[tuple[pl.DataFrame, pl.DataFrame]]] = deque()
    workers: SimpleQueue[Worker] = SimpleQueue()

    def work(frame: pl.DataFrame, before: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        worker = workers.get()
        try:
            return scorer.score(frame, before, worker)
        finally:
            workers.put(worker)

    with ExitStack() as stack:
        for _ in range(THREADS):
            workers.put(Worker(stack.enter_context(Desk.at()), engine_of(bundle, wanted.engine)))
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        before = 0
        for frame in frames:
            waiting.append(pool.submit(work, frame, before))
            before += frame.height
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
