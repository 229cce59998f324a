"""Traffic of many moments: snapshots for it, and requests as they would have been made."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import polars as pl
from conftest import Workspace

from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.problem import load_problem
from tandem.warehouse import Warehouse
from tasks.snapshots import Knowledge, write_due
from tasks.training_set import requests_of


def snapshots_until(workspace: Workspace, bundle: Bundle, first: datetime, ticks: int) -> list[datetime]:
    """Write the snapshots of some ticks where serving looks for them, and let world time stand after the last."""
    grid, problem = bundle.spec.grid, load_problem(workspace.params.problem)
    due = [first + n * grid.tick for n in range(ticks)]
    for until in (first, due[-1]):
        write_due(Knowledge(problem, workspace.data / "facts", grid, until), workspace.settings.snapshots, ticks + 1)
    Clock.stopped(due[-1]).save(workspace.settings.clock)
    return due


def asked_at(address: str, workspace: Workspace, bundle: Bundle, ticks: list[datetime], count: int) -> None:
    """Ask so many requests at a moment of each tick, all different, one HTTP request a tick."""
    spec, drawn = bundle.spec, random.Random(7)  # noqa: S311
    with Warehouse.open(workspace.data / "facts", bundle.as_of, spec.grid.tick) as warehouse:
        asked = requests_of(load_problem(workspace.params.problem), warehouse, spec.grid)
    names = [name for name in spec.fields if name != "moment"]
    with httpx.Client(base_url=address, timeout=60) as client:
        for number, tick in enumerate(ticks):
            at = tick + spec.grid.lag + timedelta(seconds=drawn.randrange(spec.grid.tick_minutes * 60))
            near = asked.filter((pl.col("moment") - at).abs() < timedelta(days=7))
            rows = near.sample(count, seed=number, with_replacement=near.height < count)
            body = {"instances": [_said(row) for row in rows.select(names).to_dicts()], "at": f"{at.isoformat()}Z"}
            told = client.post("/v1/predict", json=body)
            assert told.status_code == 200, told.text


def _said(row: dict[str, Any]) -> dict[str, Any]:
    return {n: v.replace(tzinfo=UTC).isoformat() if isinstance(v, datetime) else v for n, v in row.items()}
