"""From an answer down to the raw lines: the rows of views that it was made from, and the facts behind them."""

from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from tandem.bundle import Bundle
from tandem.clock import Grid
from tandem.history import History
from tandem.lineage import Lineage
from tandem.problem import Problem
from tandem.registry import Registry, events_about
from tandem.run import step
from tandem.serving.contract import EPOCH, MICROSECOND
from tandem.serving.records import Prediction
from tandem.serving.variant import Variant
from tandem.settings import Settings
from tandem.snapshots import Snapshot
from tandem.vectors import Values
from tandem.views import View, ViewSpec
from tandem.warehouse import Warehouse, identifier
from tasks.replay import fields_of
from tasks.show import FIGURES

NEWEST = 3
"""Raw lines that are told of each kind of fact; the others are counted."""


@step
def used_rows(record: Prediction, variant: Variant, snapshot: Snapshot | None) -> list[dict[str, Any]]:
    """Name the row of each view that an answer was made from, by its key; without the snapshot, the key alone."""
    views, used = {view.name: view for view in variant.spec.views}, list[dict[str, Any]]()

    def look(name: str, key: Values) -> Values | None:
        view, row = views[name], snapshot.row(name, key) if snapshot else None
        said = {"view": name, "grain": view.grain, "key": dict(zip(view.keys, key, strict=True))}
        used.append(said | {"row": None if row is None else _told(view, row), "facts": []})
        return row

    variant.on(look).made(fields_of(record, variant))
    return used


def _told(view: ViewSpec, row: Values) -> dict[str, Any]:
    values = zip(view.values.items(), row, strict=True)
    return {name: _moment(value) if kind == "TIMESTAMP" else value for (name, kind), value in values}


def _moment(value: Any) -> str | None:  # noqa: ANN401 - microseconds
    return None if value is None else (EPOCH + value * MICROSECOND).replace(tzinfo=None).isoformat()


def facts_of(settings: Settings, problem: Problem) -> Path | None:
    """Find the newest facts of a problem: those of the last refresh, or the graph's."""
    folders = [*(settings.cache / "facts").glob("*"), settings.of(problem.name) / "facts"]
    whole = [folder for folder in folders if all((folder / kind).is_dir() for kind in problem.kinds)]
    return max(whole, key=lambda folder: folder.stat().st_mtime, default=None)


@step
def facts_behind(used: list[dict[str, Any]], problem: Problem, facts: Path, tick: datetime, grid: Grid) -> None:
    """Add to each view's row the facts of its key that were published by the tick: how many, and the newest lines."""
    views = {view.name: view.sql for view in View.load_all(problem.folder / "views")}
    macros = problem.folder / "macros.sql"
    lineage = Lineage(problem.kinds, macros.read_text() if macros.is_file() else "")
    with Warehouse.open(facts, tick, grid.tick) as warehouse:  # known before a tick is published by it
        columns = {kind: warehouse.query(f"select * from {kind} limit 0").schema for kind in problem.kinds}
        for each in used:
            kinds = lineage.facts(views[each["view"]]) if each["view"] in views else ()
            each["facts"] = [_lines(warehouse, kind, each["key"], columns[kind]) for kind in kinds]


def _lines(warehouse: Warehouse, kind: str, key: dict[str, Any], columns: pl.Schema) -> dict[str, Any]:
    """Find the facts of a key by those of its columns that such facts have."""
    by = {name: value for name, value in key.items() if name in columns and value is not None}
    found: dict[str, Any] = {"kind": kind, "by": by, "facts": None, "newest": []}
    if not by:
        return found  # the key is made of what these facts do not tell: all of them may count
    asked = pl.DataFrame({name: [value] for name, value in by.items()}).cast({name: columns[name] for name in by})
    using = ", ".join(map(identifier, by))
    rows = warehouse.query(
        f"select landing, row, event_at, known_at, count(*) over () as facts from {kind} join asked using ({using}) "
        f"order by known_at desc, event_at desc, landing, row limit {NEWEST}",
        asked=asked,
    )
    newest = rows.with_columns(pl.col(pl.Datetime).dt.strftime("%Y-%m-%dT%H:%M:%S"))
    return found | {"facts": rows["facts"][0] if rows.height else 0, "newest": newest.drop("facts").to_dicts()}


def answer_of(record: Prediction) -> dict[str, Any]:
    """Tell what was answered to what."""
    return {
        "problem": record.problem,
        "world": record.world.isoformat(),
        "wall": record.wall.isoformat(),
        "request": msgspec.json.decode(record.request),
        "request_id": record.request_id,
        "score": record.score,
        "action": record.action,
        "variant": record.variant,
        "stale": record.stale,
    }


def labels_of(history: History, name: str) -> list[dict[str, Any]]:
    """Tell what came true, as far as it was told."""
    answer = history.ask("select label, known_at, told, by_keys from labels where prediction = $name", name=name)
    return [
        {"label": label, "known_at": known_at.isoformat(), "told": told, "by_keys": by_keys}
        for label, known_at, told, by_keys in answer.rows
    ]


def about_traffic(record: Prediction, registry: Registry) -> dict[str, Any]:
    """Tell which generation of traffic an answer was given in, and who made it so, and why."""
    made = (e for e in registry.events() if e.get("state", {}).get("generation") == record.generation)
    return {"generation": record.generation, "event": next(made, None)}


def about_bundle(bundle: Bundle, registry: Registry) -> dict[str, Any]:
    """Tell what a bundle was made of, how good it was, and what was said of it."""
    said = events_about(registry, bundle.digest)
    overall = bundle.json("reports/evaluation.json")["overall"]
    return {
        "digest": bundle.digest,
        "as_of": bundle.as_of.isoformat(),
        "source": bundle.files["source.tar"].removeprefix("sha256:"),
        "version": next((event["version"] for event in said if event["event"] == "publish"), None),
        "figures": {name: overall[name] for name in FIGURES},
        "landing": bundle.json("inputs.json")["landing"],
        "attested": [event for event in said if event["event"].startswith("attest")],
        "said": said,
    }
