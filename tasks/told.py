"""What is told to Prometheus of flows and bundles: its node exporter reads files like this one."""

import json
from calendar import timegm
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from tandem.files import write_text
from tandem.schedule import last_ended
from tandem.serving.traffic import BUNDLES
from tandem.settings import Settings
from tasks.sync import traffic_now

ENDED, UNTIL = "tandem_flow_ended_seconds", "tandem_flow_until_seconds"
FIGURE, ROWS = "tandem_bundle_figure", "tandem_bundle_rows"
HELP: Mapping[str, str] = {
    ENDED: "When it last ended well.",
    UNTIL: "World time up to which all that was due is done.",
    FIGURE: "What a bundle is worth on held-out time.",
    ROWS: "Rows that a bundle's data came as.",
}
FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece")
STATES = ("accepted", "quarantined")

Lines = tuple[str, ...]


def told(settings: Settings) -> Path:
    """Name the file."""
    return settings.var / "told" / "flows.prom"


def tell_flows(settings: Settings) -> None:
    """Write down how flows and bundles stand, if that is news: a dead scheduler looks as healthy as an idle one."""
    values: dict[str, list[str]] = {name: [] for name in HELP}
    for flow, last in last_ended(settings.schedule).items():
        values[ENDED].append(f'{{flow="{flow}"}} {_seconds(last.wall) if last else 0}')
        if last and last.until:
            values[UNTIL].append(f'{{flow="{flow}"}} {_seconds(last.until)}')
    served = traffic_now(settings.serving)
    for role, digest in served.digests.items() if served else ():
        with suppress(FileNotFoundError):  # taken away just now, as another took its place
            figures, rows = _of_bundle(settings.serving / BUNDLES / digest / "reports")
            values[FIGURE] += [f'{{variant="{role}",{line}' for line in figures]
            values[ROWS] += [f'{{variant="{role}",{line}' for line in rows]
    lines = [line for name, found in values.items() for line in _metric(name, found)]
    text, path = "\n".join(lines) + "\n", told(settings)
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)


def _metric(name: str, values: list[str]) -> list[str]:
    return [f"# HELP {name} {HELP[name]}", f"# TYPE {name} gauge", *(f"{name}{value}" for value in values)]


def _seconds(moment: datetime) -> int:
    return timegm(moment.timetuple())


@lru_cache(maxsize=8)
def _of_bundle(reports: Path) -> tuple[Lines, Lines]:
    """Give a bundle's figures and rows; it never changes."""
    overall = json.loads((reports / "evaluation.json").read_text())["overall"]
    figures = tuple(f'figure="{name}"}} {overall[name]}' for name in FIGURES if overall.get(name) is not None)
    return figures, tuple(_rows(json.loads((reports / "ingest.json").read_text())["sources"]))


def _rows(sources: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]]) -> Iterator[str]:
    """Count each fact's rows over all landings."""
    for source, said in sources.items():
        for fact in sorted({fact for landing in said["landings"].values() for fact in landing}):
            for state in STATES:
                count = sum(landing[fact][state] for landing in said["landings"].values() if fact in landing)
                yield f'source="{source}",fact="{fact}",state="{state}"}} {count}'
