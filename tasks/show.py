"""Facts as text for a terminal."""

import json
from pathlib import Path
from typing import Any

from tandem.graph import StageRun

FIGURES = ("auc", "average_precision", "log_loss", "brier", "ece")


def table(heading: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
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
