"""A shadow is asked what was answered already, when there is nothing else to do; nobody waits for it or hears of it."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import isfinite
from time import perf_counter

import msgspec
import numpy as np

from tandem.errors import LedgerError
from tandem.serving.counts import Counts
from tandem.serving.memory import Memory
from tandem.serving.served import Ground
from tandem.serving.variant import Variant
from tandem.vectors import Values

log = logging.getLogger(__name__)

LATER = 0.002
"""Seconds until it is looked whether there is nothing else to do."""
SLICE = 8
"""Instances that are scored in one go: a tenth of a millisecond, which is what a request may have to wait."""
MOST = 10_000
"""Instances that wait; what is more is dropped and counted."""


class Shadowed(msgspec.Struct, tag_field="kind", tag="shadow"):
    """What a shadow would have answered."""

    prediction: str
    """Whose answer it stands beside."""
    wall: datetime
    problem: str
    bundle: str
    score: float | None
    """None: it failed."""


class Waiting(msgspec.Struct):
    """An instance that was answered."""

    name: str
    fields: Values
    ground: Ground
    variant: Variant


class Shadow:
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
            taken = [self._waiting.popleft() for _ in range(min(SLICE, len(self._waiting)))]
            self._score(taken)
        if self._waiting:
            self._loop.call_later(LATER, self._work)

    def _score(self, taken: Sequence[Waiting]) -> None:
        start, scores = perf_counter(), [self._one(each) for each in taken]
        seconds = (perf_counter() - start) / len(taken)
        for score in scores:
            if score is None:
                self._counts.add("failures_total", "shadow")
            else:
                self._counts.add("rows_total", "shadow")
                self._counts.observe("score", score, "shadow")
                self._counts.observe("row_seconds", seconds, "shadow")
        now = datetime.now(UTC)
        records = [
            Shadowed(each.name, now, each.variant.spec.problem, each.variant.digest, score)
            for each, score in zip(taken, scores, strict=True)
        ]
        try:
            self._memory.append(records)
        except LedgerError as exc:
            log.warning("what the shadow said is not recorded: %s", exc)

    def _one(self, each: Waiting) -> float | None:
        vectors = each.variant.vectors
        try:
            inputs = vectors.vector(each.fields, vectors.rows(each.fields, each.ground.look))
            (score,) = each.variant.scores(np.stack([inputs]))
        except Exception as exc:  # noqa: BLE001 - whatever it is, nobody but the log hears of it
            log.warning("the shadow failed: %s", exc)
            return None
        if not isfinite(score):
            log.warning("the shadow's score is no number")
            return None
        return score
