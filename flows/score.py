"""Score a table of requests: read it in slices, look up what was known, and write the scores."""

from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import operation
from tandem.settings import Settings
from tasks.known import Place, known_now, known_until
from tasks.requests import Gate, latest_tick, opened
from tasks.score import Scorer, Show, Wanted, newest_snapshot, write_scores


@operation
def score(wanted: Wanted, folder: Path | None, params: Params, settings: Settings, show: Show) -> dict[str, Any]:
    """Score each row by what was known at its moment, or by the newest snapshot where rows name none."""
    start, problem = perf_counter(), load_problem(params.problem)
    bundle = Bundle.open(folder or settings.of(problem.name) / "bundle")
    with opened(wanted.source, wanted.target.parent) as rows:
        gate = Gate(wanted.source, bundle, rows.collect_schema())
        if gate.timed:
            latest = latest_tick(wanted.source, rows, bundle.spec.grid)
            known = known_until(latest, bundle.spec, Place(problem, params, settings))
        else:
            moment = wanted.at or Clock.of(problem, params, settings).now()
            wanted = replace(wanted, at=moment)
            known = known_now(newest_snapshot(bundle, settings, moment), bundle.spec)
        counted, refused = write_scores(rows, wanted, Scorer(wanted, bundle, gate, known), bundle, show)
    seconds = perf_counter() - start
    return {
        "rows": counted,
        "left_out": refused,
        "quarantine": str(wanted.quarantine) if refused else None,
        "target": str(wanted.target),
        "bundle": bundle.digest,
        "engine": wanted.engine,
        "seconds": round(seconds, 3),
        "rows_a_second": round((counted + refused) / seconds),
    }
