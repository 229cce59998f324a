"""What a worker counts while it answers: plain numbers, as an answer has no time for more."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the histogram of how long answers take."""
SCORES = tuple(n / 20 for n in range(1, 21))
"""Upper bounds of the histogram of scores."""


class Histogram(msgspec.Struct):
    """How many values lie up to each bound, and their sum; the last count is of what lies above all."""

    bounds: tuple[float, ...]
    counts: list[int]
    total: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> "Histogram":
        """Count nothing yet."""
        return cls(bounds, [0] * (len(bounds) + 1))

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts(msgspec.Struct):
    """All that is counted, by the labels that tell it apart."""

    requests: Counter[tuple[str, str, int]] = msgspec.field(default_factory=Counter)
    """By endpoint, method and status."""
    seconds: dict[str, Histogram] = msgspec.field(default_factory=dict)
    """By endpoint."""
    rows: Counter[str] = msgspec.field(default_factory=Counter)
    """By role."""
    scores: dict[str, Histogram] = msgspec.field(default_factory=dict)
    """By role."""
    compute: dict[str, Histogram] = msgspec.field(default_factory=dict)
    """Seconds that a run of the model with all around it takes, by role."""
    unknown: Counter[str] = msgspec.field(default_factory=Counter)
    """Keys that were never seen, by view."""
    nulls: Counter[str] = msgspec.field(default_factory=Counter)
    """Inputs without a value, by role."""
    outside: Counter[str] = msgspec.field(default_factory=Counter)
    """Values outside of what was fitted on, by input."""
    stale: int = 0
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    """By role."""
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    """Requests that were turned away, by reason."""
    labels: int = 0
    unrecorded: int = 0
    """Answers that were not given because they could not be recorded."""

    def scored(self, role: str, scores: Sequence[float], inputs: NDArray[np.float32]) -> None:
        """Count what a run of the model gave."""
        self.rows[role] += len(scores)
        self.nulls[role] += int(np.count_nonzero(np.isnan(inputs)))
        histogram = self.scores.get(role) or self.scores.setdefault(role, Histogram.empty(SCORES))
        for score in scores:
            histogram.add(score)

    def answered(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count an answer, and how long it took."""
        self.requests[endpoint, method, status] += 1
        histogram = self.seconds.get(endpoint) or self.seconds.setdefault(endpoint, Histogram.empty(SECONDS))
        histogram.add(seconds)
