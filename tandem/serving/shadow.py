"""A shadow is asked what was answered already, when there is nothing else to do; nobody waits for it or hears of it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import isfinite
from time import perf_counter

import msgspec

from tandem.errors import LedgerError
from tandem.serving.counts import Counts
from tandem.serving.memory import Memory
from tandem.serving.records import Shadow
from tandem.serving.served import Ground
from tandem.serving.variant import Variant
from tandem.vectors import Values

log = logging.getLogger(__name__)

LATER = 0.001
"""Seconds until it is looked whether there is nothing else to do."""
SLICE, BEHIND = 8, 64
"""Instances that are scored in one go, which a request may have to wait for: one, and one more for so many waiting."""
MOST = 10_000
"""Instances that wait; what is more is dropped and counted."""


class Waiting(msgspec.Struct):
    """An instance that was answered."""

    name: str
    fields: Values
    ground: Ground
    variant: Variant


class Shadowing:
    """Scores what waits, in one worker."""

    def __init__(self, memory: Memory, counts: Counts, busy: Callable[[], bool]) -> None:
        """Work when nothing else is to be done."""
        self._memory, self._counts, self._busy = memory, counts, busy
        self._waiting: deque[Waiting] = deque()
        self._loop = asyncio.get_running_loop()

    @property
    def waiting(self) -> int:
        """How many instances wait."""
        return len(self._waiting)

    def add(self, waiting: Sequence[Waiting]) -> None:
        """Take in what was answered."""
        room = MOST - len(self._waiting)
        if len(waiting) > room:
            self._counts.add("shadow_dropped_total", by=len(waiting) - room)
        if room and not self._waiting:
            self._loop.call_later(LATER, self._work)
        self._waiting.extend(waiting[:room])

    def _work(self) -> None:
        if not self._busy():
            waiting = len(self._waiting)
            self._score([self._waiting.popleft() for _ in range(min(SLICE, 1 + waiting // BEHIND, waiting))])
        if self._waiting:
            self._loop.call_later(LATER, self._work)

    def _score(self, taken: Sequence[Waiting]) -> None:
        records = [self._record(each) for each in taken]
        for record in records:
            if record.score is None:
                self._counts.add("failures_total", "shadow")
            else:
                self._counts.add("rows_total", "shadow")
                self._counts.observe("score", record.score, "shadow")
                self._counts.observe("row_seconds", record.microseconds / 1e6, "shadow")
        try:
            self._memory.append(records)
        except LedgerError as exc:
            log.warning("what the shadow said is not recorded: %s", exc)

    def _record(self, each: Waiting) -> Shadow:
        start, variant = perf_counter(), each.variant
        said = Shadow(each.ground.moment, datetime.now(UTC), variant.spec.problem, each.name, variant.digest)
        try:
            made = variant.on(each.ground.look).made(each.fields)
            (score,) = variant.scores([made.data])
        except Exception as exc:  # noqa: BLE001 - whatever it is, nobody but the ledger hears of it
            said.error = str(exc)
        else:
            said.features = made.data
            if isfinite(score):
                said.score = score
            else:
                said.error = "the score is no number"
        said.microseconds = (perf_counter() - start) * 1e6
        return said
