"""Start a server, wait for its first answer, and see what memory that took."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil
from measure import Run

PORT = "18080"
OURS = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PORT", "PYTHONPATH", "TANDEM_TRACKING_URI", "VIRTUAL_ENV"}
PLAIN = {name: value for name, value in os.environ.items() if name not in OURS} | {
    "PATH": os.pathsep.join(
        part for part in os.environ["PATH"].split(os.pathsep) if part != str(Path(sys.executable).parent)
    )
}
"""What a stranger's shell has: nothing of this environment."""


@dataclass(frozen=True)
class Question:
    """What is asked again and again until there is an answer."""

    path: str
    body: bytes | None = None
    every: float = 0.02
    patience: float = 60

    def answered(self) -> bool:
        """Ask once."""
        try:
            url = f"http://127.0.0.1:{PORT}{self.path}"
            with urlopen(Request(url, data=self.body), timeout=10) as answer:
                return bool(answer.status == 200)
        except (URLError, ConnectionError, TimeoutError):
            return False


def until_answer(command: list[str], tree: Path, question: Question, environment: Mapping[str, str]) -> Run:
    """Start a server, ask until it answers, and end it; memory is what all its processes have together, sampled.

    Raises:
        TimeoutError: it ended or did not answer in time.

    """
    log = tree.parent / "server.log"
    peak, start = 0.0, time.perf_counter()
    with log.open("wb") as out, subprocess.Popen(command, cwd=tree, env=environment, stdout=out, stderr=out) as server:
        try:
            while time.perf_counter() - start < question.patience and server.poll() is None:
                peak = max(peak, resident(server.pid))
                if question.answered():
                    return Run(time.perf_counter() - start, peak)
                time.sleep(question.every)
        finally:
            server.send_signal(signal.SIGTERM)
    msg = f"{' '.join(command)} gave no answer:\n{log.read_text()[-2000:]}"
    raise TimeoutError(msg)


def resident(pid: int) -> float:
    """Add up the MiB of a process and all below it."""
    try:
        tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(map(_resident, tree))


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / 2**20)
    except psutil.NoSuchProcess:
        return 0.0
