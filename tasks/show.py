"""Facts as text for a terminal."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tandem.graph import StageRun

FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece")
MOST = 60


def table(heading: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    """Return columns that line up: text to the left, numbers to the right."""
    text = [tuple(_cell(value) for value in row) for row in [heading, *rows]]
    widths = [max(len(row[place]) for row in text) for place in range(len(heading))]
    right = [bool(rows) and isinstance(rows[0][place], int | float) for place in range(len(heading))]
    lines = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)) for row in text
    ]
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def run_line(done: StageRun) -> str:
    """Say what a stage came to."""
    return f"{done.name:<14}{'ran' if done.ran else 'cached':<8}{done.seconds:6.1f} s"


def figures_table(data: Path) -> str:
    """Return the model's figures beside the baselines', on held-out time."""
    evaluation = json.loads((data / "reports" / "evaluation.json").read_text())
    models = {"model": evaluation["overall"]} | evaluation["baselines"]
    rows = [(name, *(of[figure] for figure in FIGURES)) for name, of in models.items()]
    months = ", ".join(evaluation["months"])
    heading = f"\nHeld-out rows: {evaluation['overall']['rows']} ({months})"
    return f"{heading}\n{table(('', *FIGURES), rows)}"


def backtest_table(result: dict[str, Any]) -> str:
    """Return a backtest by month and beside the baselines."""
    rows = [("all", *_row(result["overall"]))]
    rows += [(month, *_row(of)) for month, of in result["months"].items()]
    rows += [(f"{name} (all)", *_row(of)) for name, of in result["baselines"].items()]
    return table(("", "rows", *FIGURES), rows)


def _row(of: dict[str, Any]) -> tuple[object, ...]:
    return (of["rows"], *(of[figure] for figure in FIGURES))


def doctor_report(found: list[dict[str, Any]]) -> str:
    """Return each check, and how to mend what failed."""
    rows = [("ok" if check["ok"] else "MISSING", check["name"], check["found"], check["mend"]) for check in found]
    return table(("", "", "found", "mend"), rows)


def _markdown(heading: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [heading, ("---",) * len(heading), *(tuple(_cell(value) for value in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def diff_report(result: dict[str, Any], *, markdown: bool) -> str:
    """Return what differs between two bundles, part by part."""
    draw = _markdown if markdown else table
    parts = [
        f"{result['bundles'][0][:12]} ({result['as_of'][0]}) and {result['bundles'][1][:12]} ({result['as_of'][1]})"
    ]
    for part in ("data", "features", "params"):
        rows = [(name, *(_short(side) for side in sides)) for name, sides in result[part].items()]
        parts.append(f"## {part}\n\n{draw((part, 'a', 'b'), rows) if rows else 'the same'}")
    rows = [(group, *_delta(sides)) for group, sides in result["figures"].items() if all(sides)]
    parts.append(f"## figures, b less a\n\n{draw(('', 'auc', 'change', 'log_loss', 'change', 'ece', 'change'), rows)}")
    return "\n\n".join(parts)


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."


def _delta(sides: list[dict[str, Any]]) -> list[object]:
    cells: list[object] = []
    for name in ("auc", "log_loss", "ece"):
        a, b = sides[0][name], sides[1][name]
        cells += [b, None if a is None or b is None else b - a]
    return cells
