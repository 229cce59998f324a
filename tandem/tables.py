"""Tables of facts, for a terminal and in Markdown."""

from collections.abc import Sequence

Heading = Sequence[str]
Rows = Sequence[Sequence[object]]


def cell(value: object) -> str:
    """Return a value as a table shows it."""
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _numbers(rows: Rows, width: int) -> list[bool]:
    """Tell the columns of numbers, which go to the right."""
    return [any(isinstance(row[place], int | float) for row in rows) for place in range(width)]


def plain(heading: Heading, rows: Rows) -> str:
    """Return columns that line up: text to the left, numbers to the right."""
    lines = [list(heading), *(list(map(cell, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    right = _numbers(rows, len(heading))
    padded = [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True))
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in padded)


def markdown(heading: Heading, rows: Rows) -> str:
    """Return a table for a page; a bar or a new line within a cell ends no cell."""
    rule = ["---:" if right else "---" for right in _numbers(rows, len(heading))]
    lines = [heading, rule, *([" ".join(cell(v).replace("|", "\\|").splitlines()) for v in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
