"""What Prometheus reads: the counts of all workers, added up, and how it stands just now.

Each worker writes its counts to a file of its own, held by a lock of the kernel's as long as it lives; any of them
tells the sum. What the dead have counted is kept, or counters would go backwards. The text is made here, as
prometheus_client would be 5 MiB of a worker; the tests read it by that library's own parser.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import accumulate
from pathlib import Path

import msgspec

from tandem.clock import floor, wall_now
from tandem.ledger import is_living
from tandem.serving.counts import METRICS, Counts, Labels, Metric
from tandem.serving.http import Call, Reply, Route
from tandem.serving.service import Service
from tandem.serving.synced import SYNCED, Synced

GONE = "gone"
TRIES = 10
PAGE = os.sysconf("SC_PAGE_SIZE")


class Sheet(msgspec.Struct):
    """What one worker counted, and how it stands."""

    counts: Counts
    gauges: dict[str, float]


class Sheets:
    """The sheets of all workers."""

    def __init__(self, folder: Path, writer: str) -> None:
        """Begin a sheet."""
        self._folder, self._own = folder, folder / writer
        self._file = self._begin()

    def _begin(self) -> FileIO:
        """Take over what the dead have left, and begin a sheet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._bury()
            file = self._own.open("w+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def write(self, sheet: Sheet) -> None:
        """Write our own; where somebody took it away, begin another one."""
        if not self._own.exists():
            self._file.close()
            self._file = self._begin()
        data = msgspec.msgpack.encode(sheet)
        os.pwrite(self._file.fileno(), len(data).to_bytes(8, "big") + data, 0)

    def total(self) -> Sheet:
        """Add all up; gauges of the living."""
        total = Sheet(Counts(), {})
        with self._alone():
            for path in self._all():
                sheet = _read(path)
                total.counts.merge(sheet.counts)
                if path.name != GONE and (path == self._own or is_living(path)):
                    for name, value in sheet.gauges.items():
                        total.gauges[name] = total.gauges.get(name, 0) + value
        return total

    def _all(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if not path.name.startswith(".") and path.is_file()]

    def close(self) -> None:
        """Let go of our own."""
        self._file.close()

    def _bury(self) -> None:
        gone = Sheet(Counts(), {})
        dead = [path for path in self._all() if not is_living(path)]
        for path in dead:
            gone.counts.merge(_read(path).counts)
        temporary = self._folder / f".{GONE}"
        data = msgspec.msgpack.encode(gone)
        temporary.write_bytes(len(data).to_bytes(8, "big") + data)
        for path in dead:
            path.unlink()
        temporary.rename(self._folder / GONE)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(path: Path) -> Sheet:
    """Read a sheet; one that is being written is read again, and one that never was is empty."""
    for _ in range(TRIES):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "big")
        try:
            return msgspec.msgpack.decode(data[8 : 8 + size], type=Sheet)
        except msgspec.DecodeError:
            continue
    return Sheet(Counts(), {})


def text(sheet: Sheet, infos: dict[tuple[str, Labels], float]) -> str:
    """Write a sheet, and gauges that have labels, as Prometheus reads it."""
    lines: list[str] = []
    for metric in METRICS.values():
        lines += [f"# HELP tandem_{metric.name} {metric.help}", f"# TYPE tandem_{metric.name} {metric.kind}"]
        if metric.kind == "histogram":
            for labels, buckets in sorted(sheet.counts.histograms.get(metric.name, {}).items()):
                lines += _histogram(metric, labels, buckets)
        else:
            values = dict(sheet.counts.counters.get(metric.name, {}))
            values |= {labels: value for (name, labels), value in infos.items() if name == metric.name}
            if metric.name in sheet.gauges:
                values[()] = sheet.gauges[metric.name]
            if not (values or metric.labels):
                values[()] = 0.0
            lines += [_line(metric.name, metric.labels, labels, value) for labels, value in sorted(values.items())]
    return "\n".join(lines) + "\n"


def _histogram(metric: Metric, labels: Labels, buckets: list[float]) -> Iterator[str]:
    names, counts = (*metric.labels, "le"), list(accumulate(buckets[:-1]))
    for bound, count in zip((*map(str, metric.bounds), "+Inf"), counts, strict=True):
        yield _line(f"{metric.name}_bucket", names, (*labels, bound), count)
    yield _line(f"{metric.name}_count", metric.labels, labels, counts[-1])
    yield _line(f"{metric.name}_sum", metric.labels, labels, buckets[-1])


def _line(name: str, names: Labels, labels: Labels, value: float) -> str:
    escaped = (label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for label in labels)
    inside = ",".join(f'{name}="{label}"' for name, label in zip(names, escaped, strict=True))
    return f"tandem_{name}{{{inside}}} {value:.17g}" if inside else f"tandem_{name} {value:.17g}"


class Metrics:
    """The face that Prometheus scrapes."""

    def __init__(self, service: Service, sheets: Sheets, serving: Path) -> None:
        """Tell of a worker, and of those beside it."""
        self._service, self._sheets, self._serving = service, sheets, serving

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [Route("GET", "/metrics", self.metrics, "metrics", "metrics")]

    def write(self) -> None:
        """Write down how this worker stands."""
        self._sheets.write(Sheet(self._service.counts, self._own()))

    async def metrics(self, _: Call) -> Reply:
        """Add all up."""
        self.write()
        total = self._sheets.total()
        total.gauges |= self._shared()
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        return Reply(text(total, self._infos()).encode(), kind)

    def _own(self) -> dict[str, float]:
        """Give the gauges that are added up."""
        served, pages = self._service.watched.now, Path("/proc/self/statm").read_text().split()[1]
        cut_off = served.challenger is not None and not served.challenger.breaker.closed()
        return {
            "at_once": self._service.admission.requests,
            "ledger_waiting": self._service.core.waiting,
            "cut_off": float(cut_off),
            "workers": 1,
            "memory_bytes": int(pages) * PAGE,
        }

    def _shared(self) -> dict[str, float]:
        """Give the gauges that all workers share."""
        service = self._service
        traffic, moment, grid = service.watched.now.traffic, service.core.now(), service.champion.grid
        found: dict[str, float] = {"generation": traffic.generation, "share": traffic.share}
        if due := service.watched.ticks.due(moment, grid):
            tick = due[0].tick
            found["tick_age_seconds"] = (moment - tick).total_seconds()
            found["lateness_seconds"] = (floor(moment - grid.lag, grid.tick) - tick).total_seconds()
        return found | self._sync()

    def _sync(self) -> dict[str, float]:
        """Tell what sync wrote down of itself."""
        try:
            said = msgspec.json.decode((self._serving / SYNCED).read_bytes(), type=Synced)
        except (OSError, msgspec.DecodeError):
            return {}
        return {"sync_age_seconds": (wall_now() - said.at).total_seconds(), "sync_refused_total": said.refused}

    def _infos(self) -> dict[tuple[str, Labels], float]:
        served, problem = self._service.watched.now, self._service.champion.spec.problem
        return {("bundle_info", (problem, role, v.digest)): 1.0 for role, v in served.variants.items()}
