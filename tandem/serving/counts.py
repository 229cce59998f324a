"""What a worker counts while it answers: plain numbers in plain dictionaries, as an answer has no time for more."""

from bisect import bisect_left
from collections.abc import Sequence
from math import isfinite
from typing import Literal, NamedTuple

import msgspec

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SCORES = tuple(n / 20 for n in range(1, 21))

Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """One thing that is counted or measured."""

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""


METRICS = {
    metric.name: metric
    for metric in (
        Metric("requests_total", "counter", "Requests that were answered.", ("endpoint", "method", "status")),
        Metric("request_seconds", "histogram", "How long an answer took.", ("endpoint",), SECONDS),
        Metric("rows_total", "counter", "Instances that were scored.", ("variant",)),
        Metric("row_seconds", "histogram", "What computing an instance took.", ("variant",), SECONDS),
        Metric("score", "histogram", "Scores that were given.", ("variant",), SCORES),
        Metric("unknown_keys_total", "counter", "Keys that were never seen.", ("view",)),
        Metric("nulls_total", "counter", "Inputs without a value.", ("variant",)),
        Metric("out_of_range_total", "counter", "Values outside of what the model was fitted on.", ("input",)),
        Metric("stale_total", "counter", "Instances answered from an older tick than was due."),
        Metric("failures_total", "counter", "Failures of a variant; the champion answered.", ("variant",)),
        Metric("refused_total", "counter", "Requests turned away: busy, key, role, rate.", ("reason",)),
        Metric("labels_total", "counter", "Labels that were taken."),
        Metric("unrecorded_total", "counter", "Instances not answered, as they could not be recorded."),
        Metric("shadow_dropped_total", "counter", "Instances that the shadow was too busy for."),
        Metric("reload_failures_total", "counter", "Changes that could not be taken up."),
        Metric("at_once", "gauge", "Requests that are being answered."),
        Metric("ledger_waiting", "gauge", "Answers that wait for the disk."),
        Metric("cut_off", "gauge", "Workers in which the challenger is cut off."),
        Metric("workers", "gauge", "Workers that live."),
        Metric("memory_bytes", "gauge", "Resident memory of the workers."),
        Metric("bundle_info", "gauge", "1 for the bundle of each variant.", ("problem", "variant", "bundle")),
        Metric("generation", "gauge", "Number of the state of traffic."),
        Metric("share", "gauge", "Share of the keys that the challenger answers."),
        Metric("tick_age_seconds", "gauge", "World seconds since the tick that is answered from."),
        Metric("lateness_seconds", "gauge", "World seconds by which that tick is older than it should be."),
        Metric("sync_age_seconds", "gauge", "Seconds since sync last looked."),
        Metric("sync_refused_total", "counter", "Bundles that sync refused."),
    )
}
"""By name; in the exposition each begins with `tandem_`."""


class Counts(msgspec.Struct):
    """Counters and histograms, by name and by labels."""

    counters: dict[str, dict[Labels, float]] = msgspec.field(default_factory=dict)
    histograms: dict[str, dict[Labels, list[float]]] = msgspec.field(default_factory=dict)
    """How many values lie up to each bound and not up to the one before, how many above all, and their sum."""

    def add(self, name: str, *labels: str, by: float = 1) -> None:
        """Count something."""
        found = self.counters.get(name)
        if found is None:
            found = self.counters[name] = {}
        found[labels] = found.get(labels, 0) + by

    def observe(self, name: str, value: float, *labels: str, times: int = 1) -> None:
        """Count a value of a histogram."""
        buckets, bounds = self._buckets(name, labels)
        buckets[bisect_left(bounds, value)] += times
        buckets[-1] += value * times

    def _buckets(self, name: str, labels: Labels) -> tuple[list[float], tuple[float, ...]]:
        bounds = METRICS[name].bounds
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = {}
        buckets = found.get(labels)
        if buckets is None:
            buckets = found[labels] = [0.0] * (len(bounds) + 2)
        return buckets, bounds

    def of(self, name: str, *labels: str) -> float:
        """Tell a counter, or the count of a histogram."""
        if name in self.histograms:
            return sum(self.histograms[name].get(labels, [0.0])[:-1])
        return self.counters.get(name, {}).get(labels, 0)

    def scored(self, role: str, scores: Sequence[float], nulls: int, seconds: float) -> None:
        """Count what a run of the model gave, and what each row of it took."""
        self.add("rows_total", role, by=len(scores))
        self.add("nulls_total", role, by=nulls)
        self.observe("row_seconds", seconds, role, times=len(scores))
        buckets, bounds = self._buckets("score", (role,))
        for score in scores:
            if isfinite(score):  # one that is not would spoil the sum for good
                buckets[bisect_left(bounds, score)] += 1
                buckets[-1] += score

    def merge(self, other: "Counts") -> None:
        """Add what another one counted."""
        for name, by_labels in other.counters.items():
            for labels, value in by_labels.items():
                self.add(name, *labels, by=value)
        for name, found in other.histograms.items():
            own = self.histograms.setdefault(name, {})
            for labels, buckets in found.items():
                before = own.get(labels, [0.0] * len(buckets))
                own[labels] = [a + b for a, b in zip(before, buckets, strict=True)]
