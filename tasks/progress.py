"""A walk as it is shown: a live picture on a terminal, plain lines elsewhere, lines of JSON if they are asked for."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tandem.graph import StageRun
from tandem.log import as_json
from tasks.show import run_line
from tasks.walk import Show

OFTEN = 0.2
"""Seconds from one word to the next on a terminal."""
RARELY = 10.0
"""And elsewhere."""
CLEAR = "\x1b[K\r"
NEWLINE = "\n"


class Lines:
    """A line for each stage on stdout; what stages say goes to stderr."""

    def started(self, stage: str) -> None:
        """Say nothing yet."""

    def said(self, stage: str, line: str) -> None:  # noqa: ARG002 - they are in order
        """Pass it on."""
        sys.stderr.write(f"{line}\n")

    def ended(self, done: StageRun) -> None:
        """Say what it came to."""
        sys.stdout.write(f"{run_line(done)}\n")
        sys.stdout.flush()

    def failed(self, stage: str, reason: str) -> None:
        """Say why in one line; all of it comes at the end."""
        sys.stdout.write(f"{stage:<14}failed  {reason.splitlines()[0]}\n")
        sys.stdout.flush()


class JsonLines:
    """Each thing that happens as a line of JSON on stdout."""

    def _say(self, **said: Any) -> None:  # noqa: ANN401 - whatever JSON holds
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    def started(self, stage: str) -> None:
        """Tell that it begins."""
        self._say(stage=stage, event="started")

    def said(self, stage: str, line: str) -> None:
        """Tell what it says."""
        self._say(stage=stage, event="said", message=line)

    def ended(self, done: StageRun) -> None:
        """Tell what it came to."""
        self._say(stage=done.name, event="ran" if done.ran else "cached", seconds=round(done.seconds, 3))

    def failed(self, stage: str, reason: str) -> None:
        """Tell why."""
        self._say(stage=stage, event="failed", reason=reason)


class Live:
    """A table that changes where it stands: each stage, how long it has been running, and what it said last."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        from rich.live import Live as Drawn  # noqa: PLC0415 - 0.1 s

        self._since: dict[str, float] = {}
        self._rows: dict[str, tuple[str, float | None, str]] = {}
        self.drawn = Drawn(get_renderable=self._table, refresh_per_second=8, redirect_stdout=False)

    def started(self, stage: str) -> None:
        """Add its row."""
        self._since[stage] = time.monotonic()
        self._rows[stage] = ("[cyan]running", None, "")

    def said(self, stage: str, line: str) -> None:
        """Show its last words."""
        if stage in self._rows:
            self._rows[stage] = (*self._rows[stage][:2], line)

    def ended(self, done: StageRun) -> None:
        """Show what it came to."""
        last = self._rows[done.name][2]
        self._rows[done.name] = ("[green]ran" if done.ran else "[dim]cached", done.seconds, last if done.ran else "")

    def failed(self, stage: str, reason: str) -> None:
        """Show why in one line."""
        self._rows[stage] = ("[red]failed", time.monotonic() - self._since[stage], reason.splitlines()[0])

    def _table(self) -> Any:  # noqa: ANN401 - rich's
        from rich.table import Table  # noqa: PLC0415

        table = Table.grid(padding=(0, 2))
        for stage, (state, seconds, last) in list(self._rows.items()):
            took = time.monotonic() - self._since[stage] if seconds is None else seconds
            table.add_row(stage, state, f"{took:6.1f} s", f"[dim]{last}")
        return table


class Counter:
    """Says how many rows are done: where it stands on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, what: str, total: int | None = None) -> None:
        """Begin to count, up to a total if it is known."""
        self._what, self._total = what, total
        self._live = sys.stderr.isatty() and not as_json()
        self._start = time.monotonic()
        self._next = self._start + (OFTEN if self._live else RARELY)

    def __call__(self, done: int) -> None:
        """Say how many are done, if it is time to."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (OFTEN if self._live else RARELY)
        rate = done / (now - self._start)
        if as_json():
            say("", event="counted", what=self._what, rows=done, total=self._total, rows_a_second=round(rate))
            return
        of = f" of {self._total:,}" if self._total is not None else ""
        sys.stderr.write(f"{self._what} {done:,}{of} rows, {rate:,.0f} a second{CLEAR if self._live else NEWLINE}")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the terminal's line."""
        if self._live:
            sys.stderr.write(NEWLINE)


def say(text: str, **said: Any) -> None:  # noqa: ANN401 - whatever JSON holds
    """Say what comes between walks and after them: as text, or as a line of JSON if those are asked for."""
    sys.stdout.write(f"{json.dumps(said) if as_json() else text}\n")
    sys.stdout.flush()


@contextmanager
def shown() -> Iterator[Show]:
    """Choose how a walk is shown."""
    if as_json():
        yield JsonLines()
    elif sys.stdout.isatty():
        live = Live()
        with live.drawn:
            yield live
    else:
        yield Lines()
