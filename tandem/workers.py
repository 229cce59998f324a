"""Workers: processes that serve side by side, started again when one ends before it was told to."""

import logging
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from tandem.errors import AddressError
from tandem.stop import Stop

log = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two looks at whether all of them live."""
TRIES, PATIENCE = 5, 10.0
"""So many ends within so many seconds are no accident."""


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port that workers listen on together; it stays ours while one of them is started again.

    Raises:
        AddressError: another one has it.

    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((host, port))  # not shared yet, so that one who listens there already is found
        except OSError as exc:
            msg = f"{host}:{port} cannot be listened on: {exc.strerror}. Choose another by PORT=, or end who is there"
            raise AddressError(msg) from exc
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken: int = held.getsockname()[1]
        yield taken


class Workers:
    """Some processes of the same command, which say `ready` and leave when their standard input ends."""

    def __init__(self, command: Sequence[str], count: int, beside: Sequence[str]) -> None:
        """Start none yet; one process beside them does what they do without."""
        self._command, self._count, self._beside = command, count, beside
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stop, self._ready = Stop(), False
        self._ends: deque[float] = deque(maxlen=TRIES)
        self._again = 0.0

    def run(self, when_ready: Callable[[], None]) -> int:
        """Keep them running until SIGTERM or Ctrl-C; give the code to end with."""
        before = {sent: signal.signal(sent, self._told) for sent in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._processes = [self._start(self._command) for _ in range(self._count)]
            if all(self._is_ready(process) for process in self._processes):
                self._ready = True
                when_ready()
                self._processes.append(self._start(self._beside))
                self._keep()
            return 0 if self._stop.is_set() else next(filter(None, (p.poll() for p in self._processes)), 1)
        finally:
            self._end()
            for sent, handler in before.items():
                signal.signal(sent, handler)

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Start one in a group of its own: a terminal's Ctrl-C is for us, and we tell them."""
        told = subprocess.DEVNULL if command is self._beside else subprocess.PIPE
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=told, process_group=0)  # noqa: S603 - our own

    def _is_ready(self, process: "subprocess.Popen[bytes]") -> bool:
        """Wait until one says so; one that closes its output instead is about to end, with a code that tells why."""
        if process.stdout and process.stdout.readline().startswith(b"ready"):
            return True
        process.wait()
        return False

    def _keep(self) -> None:
        """Start again what ends, unless workers end again and again."""
        while not self._stop.wait(LOOK):
            for place, process in enumerate(self._processes[: self._count]):
                if process.poll() is None:
                    continue
                self._ends.append(monotonic())
                if len(self._ends) == TRIES and self._ends[-1] - self._ends[0] < PATIENCE:
                    return
                log.warning("a worker ended with %s, and is started again", process.returncode)
                _part(process)
                self._processes[place] = self._start(self._command)
            self._keep_beside()

    def _keep_beside(self) -> None:
        """Start again the process beside, now and then; answers go on without it."""
        process = self._processes[self._count]
        if process.poll() is not None and monotonic() >= self._again:
            self._again = monotonic() + PATIENCE
            log.warning("the platform's process ended with %s, and is started again", process.returncode)
            _part(process)
            self._processes[self._count] = self._start(self._beside)

    def _told(self, sent: int, _: FrameType | None) -> None:
        """Pass a signal on to the workers; before they are ready Ctrl-C would end them with a traceback."""
        self._stop.set()
        for process in self._processes[: self._count]:
            process.send_signal(sent if self._ready else signal.SIGTERM)

    def _end(self) -> None:
        """Wait for workers that were told to leave; the end of standard input tells all others."""
        for place, process in enumerate(self._processes):
            if process.stdin and not (self._stop.is_set() and place < self._count):
                process.stdin.close()
        for process in self._processes:
            process.wait()
            _part(process)


def _part(process: "subprocess.Popen[bytes]") -> None:
    """Close what was open between us and one that has ended."""
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
