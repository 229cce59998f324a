"""Measure whole processes: wall time, and peak memory as the kernel counted it."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "PYTHONPATH": ".",  # the copy of the tree in which a command runs, not the tree that is installed
    "PYTHONDONTWRITEBYTECODE": "",  # where it is set, every import would be compiled anew, ours and the peers' alike
    "TANDEM_TRACKING_URI": "",
}


@dataclass(frozen=True)
class Run:
    """What one run took; of several commands in a row the sum of times and the highest peak."""

    seconds: float
    peak_mib: float
    cpu_seconds: float | None = None
    """Of all its threads and of the processes it waited for: what other work on the machine moves least."""
    work_seconds: float | None = None
    """What the command itself says it took once all was imported."""


@dataclass(frozen=True)
class Case:
    """Commands to run in a row, and what is to be done, unmeasured, before."""

    commands: Sequence[Sequence[str]]
    folder: Path
    before: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Figure:
    """One number, its value in each repeat, and the goal if there is one."""

    what: str
    values: Sequence[float]
    unit: str
    goal: float | None

    @property
    def median(self) -> float:
        """The value that is quoted."""
        return statistics.median(self.values)


@dataclass
class Outcome:
    """What a benchmark came to."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def seconds(self, name: str) -> list[float]:
        """Wall seconds of a case, a repeat each."""
        return [run.seconds for run in self.runs[name]]

    def cpu(self, name: str) -> list[float]:
        """CPU seconds of a case, a repeat each."""
        return [run.cpu_seconds or 0 for run in self.runs[name]]

    def work(self, name: str) -> list[float]:
        """Seconds of work of a case, a repeat each."""
        return [run.work_seconds or run.seconds for run in self.runs[name]]

    def peak(self, name: str) -> list[float]:
        """Peak memory of a case, a repeat each."""
        return [run.peak_mib for run in self.runs[name]]

    def as_json(self) -> dict[str, object]:
        """Give all of it as plain values."""
        return asdict(self)


def measured(command: Sequence[str], folder: Path) -> Run:
    """Run one command to its end.

    Raises:
        CalledProcessError: it failed.

    """
    with TemporaryFile() as out, TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, out.read(), err.read())
        said = out.read().decode().strip().removeprefix("work ")
    work = float(said) if said.replace(".", "", 1).isdigit() else None
    return Run(seconds, used.ru_maxrss / 1024, used.ru_utime + used.ru_stime, work)


def repeated(cases: Mapping[str, Case], repeats: int, *, warm: bool = True) -> dict[str, list[Run]]:
    """Run the cases in turn, A B A B, if asked after one round that does not count, so that a drift meets all alike."""
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for repeat in range(0 if warm else 1, repeats + 1):
        for name, case in cases.items():
            case.before()
            parts = [measured(command, case.folder) for command in case.commands]
            work = [part.work_seconds for part in parts if part.work_seconds is not None]
            seconds, cpu = sum(part.seconds for part in parts), sum(part.cpu_seconds or 0 for part in parts)
            total = Run(seconds, max(part.peak_mib for part in parts), cpu, sum(work) if work else None)
            print(f"  {name}: {total.seconds:.2f} s, {total.peak_mib:.0f} MiB{'' if repeat else ', not counted'}")
            if repeat:
                runs[name].append(total)
    return runs


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Divide pair by pair: both were measured one after the other."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def fastest(candidates: Mapping[str, Sequence[float]]) -> str:
    """Name the one with the lowest median."""
    return min(candidates, key=lambda name: statistics.median(candidates[name]))
