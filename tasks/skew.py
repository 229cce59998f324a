"""Recorded predictions held against what offline code makes of the same requests, as of the same ticks."""

import re
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tandem import ledger
from tandem.bundle import MANIFEST, Bundle
from tandem.clock import floor, naive
from tandem.features import Feature, FeatureSpec
from tandem.run import step
from tandem.serving.contract import Contract
from tandem.settings import Settings
from tandem.views import ViewSpec
from tandem.warehouse import Desk
from tasks.known import Known
from tasks.onnx import onnx_session
from tasks.requests import MOMENT, TYPES, as_type

NEAR = 1e-6
EXAMPLES = 5
PART = 10_000
SEGMENT = re.compile(r"\A[0-9a-f]{4}\Z")
"""What a segment of a worker is called; other ledgers are beside."""


@dataclass
class Skew:
    """What was compared, and what differs."""

    records: int = 0
    compared: int = 0
    differing: int = 0
    other_bundles: dict[str, int] = field(default_factory=dict)
    """Records of bundles that are not here, by digest."""
    not_yet_known: int = 0
    """Records of ticks whose facts are not here."""
    features: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows that differ, by view and feature."""
    scores: int = 0
    """Rows whose scores differ by more than 1e-6."""
    largest: float = 0.0
    """The largest difference of scores."""
    hidden: tuple[str, ...] = ()
    """Features that follow from what is personal, which records do not hold."""
    stale: int = 0
    latest: float = 0.0
    """Seconds by which the stalest answer's knowledge was too old."""
    lateness: float = 0.0
    """Seconds, of all stale answers together."""
    examples: list[dict[str, Any]] = field(default_factory=list)

    def count(self, view: str, feature: str, rows: int) -> None:
        """Count rows that differ in a feature."""
        features = self.features.setdefault(view, {})
        features[feature] = features.get(feature, 0) + rows


@step
def recorded(folder: Path, problem: str) -> Iterator[list[dict[str, Any]]]:
    """Read the predictions of a problem, segment by segment."""
    for path in sorted(folder.glob("*/*")):
        if SEGMENT.match(path.name):
            rows = (row for row in ledger.rows(path) if row.get("kind") == "prediction" and row["problem"] == problem)
            if found := list(rows):
                yield found


@step
def parted(rows: list[dict[str, Any]], bundles: Mapping[str, Bundle], skew: Skew) -> dict[str, list[dict[str, Any]]]:
    """Part records by bundle, and count those of bundles that are not here."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        skew.records += 1
        if row["bundle"] in bundles:
            found.setdefault(row["bundle"], []).append(row)
        else:
            skew.other_bundles[row["bundle"]] = skew.other_bundles.get(row["bundle"], 0) + 1
    return found


@step
def bundles_of(settings: Settings, problem: str) -> dict[str, Bundle]:
    """Open the bundles that are here: those that are served, and the problem's own."""
    folders = [settings.of(problem) / "bundle", *sorted((settings.serving / "bundles").glob("*"))]
    found = (Bundle.open(folder) for folder in folders if (folder / MANIFEST).is_file())
    return {bundle.digest: bundle for bundle in found}


class Judge:
    """Computes anew what one bundle answered."""

    def __init__(self, bundle: Bundle, secret: bytes) -> None:
        """Find out which features can be computed from records: what is personal in a request is hidden there."""
        self.spec, self.contract = bundle.spec, Contract(bundle, secret=secret)
        self._run = onnx_session(bundle.folder / "model.onnx")
        self.hidden = _hidden(self.spec, self.contract)
        self._shown = np.array([name not in self.hidden for name in self.spec.names])

    def renamed(self, view: ViewSpec, rows: pl.DataFrame) -> pl.DataFrame:
        """Name a view's keys as records do, where they are personal."""
        for key in set(view.keys) & set(self.contract.personal):
            values = rows[key].drop_nulls().unique().to_list()
            names = {value: self.contract.pseudonym(value) for value in values}
            rows = rows.with_columns(pl.col(key).replace_strict(names, default=None, return_dtype=pl.String))
        return rows

    def judge(self, rows: list[dict[str, Any]], known: Known, desk: Desk, skew: Skew) -> None:
        """Compare records whose ticks are known."""
        ticks = np.array([known.columns.number(_instant(row["tick"])) for row in rows])
        offline = known.columns.inputs(self._requests(rows, desk), ticks, desk)
        answered = np.stack([np.frombuffer(b64decode(row["features"]), dtype=np.float32) for row in rows])
        offline = np.ascontiguousarray(np.where(self._shown, offline, answered))
        unlike = offline.view(np.uint32) != answered.view(np.uint32)
        unlike &= ~(np.isnan(offline) & np.isnan(answered))
        apart = np.abs(self._run(offline) - np.array([row["score"] for row in rows]))
        far = ~(apart <= NEAR)
        skew.compared += len(rows)
        skew.differing += int((unlike.any(axis=1) | far).sum())
        skew.scores += int(far.sum())
        skew.largest = max(skew.largest, float(apart.max()))
        for place in np.flatnonzero(unlike.any(axis=0)):
            feature, first = self.spec.inputs[place], int(np.flatnonzero(unlike[:, place])[0])
            skew.count(feature.origin, feature.name, int(unlike[:, place].sum()))
            if len(skew.examples) < EXAMPLES:
                values = {"answered": answered[first, place], "offline": offline[first, place]}
                skew.examples.append(self._example(rows[first], feature, values))

    def _requests(self, rows: list[dict[str, Any]], desk: Desk) -> pl.DataFrame:
        """Read requests as a client sent them, but for what is personal."""
        columns = [pl.Series(MOMENT, [_instant(row["world"]) for row in rows], dtype=pl.Datetime("us"))]
        for name in self.contract.names:
            kind = self.spec.fields[name]
            text = kind in ("VARCHAR", "TIMESTAMP") or name in self.contract.personal
            said = [row["request"][name] for row in rows]
            column = pl.Series(name, said, dtype=pl.String() if text else TYPES[kind], strict=False)
            columns.append(column if column.dtype == TYPES[kind] else as_type(column, kind, desk))
        return pl.DataFrame(columns)

    def _example(self, row: dict[str, Any], feature: Feature, values: dict[str, np.float32]) -> dict[str, Any]:
        said = {name: None if np.isnan(value) else float(value) for name, value in values.items()}
        keys = {name: row["request"][name] for name in self.spec.keys}
        when = {"moment": row["world"], "tick": row["tick"], "bundle": row["bundle"]}
        return {"view": feature.origin, "feature": feature.name, **said, "request": keys, **when}


def _hidden(spec: FeatureSpec, contract: Contract) -> tuple[str, ...]:
    """Name the inputs that cannot be computed from records; a text alone is a key under its other name as well."""
    personal = set(contract.personal)
    made = {each.name for each in spec.request().expressions if personal.intersection(each.columns)}
    lost = made | {name for name in personal if spec.fields[name] != "VARCHAR"}
    views = [view for view in spec.views if lost.intersection(view.keys)]
    unknown = personal | {name for view in views for name in view.values}
    names = {view.name for view in views}
    return tuple(f.name for f in spec.inputs if f.origin in names or unknown.intersection(f.reads))


def _instant(said: str) -> datetime:
    return naive(datetime.fromisoformat(said))


@step
def hold(rows: list[dict[str, Any]], judge: Judge, known: Known, desk: Desk, skew: Skew) -> None:
    """Hold the records of one bundle in a segment against what offline code makes of them."""
    grid = judge.spec.grid
    for row in rows:
        if row["stale"]:
            late = floor(_instant(row["world"]) - grid.lag, grid.tick) - _instant(row["tick"])
            skew.stale += 1
            skew.lateness += late.total_seconds()
            skew.latest = max(skew.latest, late.total_seconds())
    comparable = [row for row in rows if _instant(row["tick"]) <= known.newest]
    skew.not_yet_known += len(rows) - len(comparable)
    for start in range(0, len(comparable), PART):
        judge.judge(comparable[start : start + PART], known, desk, skew)
