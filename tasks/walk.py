"""Walk the pipeline's graph: each stage once all that it needs is done, side by side where the graph allows."""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread, local
from typing import Any, Protocol

import psutil

from tandem.errors import StageError
from tandem.graph import Graph, StageRun
from tandem.log import TOLD_TO
from tandem.run import WALKER, in_prefect_run

WORKERS = 4
PIECE = 1 << 16
END = object()
NOTHING: Mapping[str, str] = {}
Running = dict[Future[StageRun], str]


class Show(Protocol):
    """What a walk tells while it goes on."""

    def started(self, stage: str) -> None:
        """Show that a stage runs, or is looked at."""

    def said(self, stage: str, line: str) -> None:
        """Show what it says."""

    def ended(self, done: StageRun) -> None:
        """Show that it ran, or that it did not need to."""

    def failed(self, stage: str, reason: str) -> None:
        """Show why it failed."""


class Walk:
    """One walk through the graph of a folder."""

    def __init__(self, root: Path, show: Show, *, force: bool, nested: bool, beside: Mapping[str, str]) -> None:
        """Go nowhere yet."""
        self._root, self._show, self._force, self._nested = root, show, force, nested
        self._beside = dict(beside)
        self._own, self._reasons, self._waiting = local(), dict[str, str](), dict[int, Event]()
        self.done: list[StageRun] = []
        self.failed: dict[str, StageError] = {}

    def go(self) -> None:
        """Run all that can be run; what needs a stage that failed is not, and the rest goes on."""
        graph = Graph(self._root)
        graph.mend()
        todo = TopologicalSorter(graph.needs)
        todo.prepare()
        running: Running = {}
        with self._listening(), ThreadPoolExecutor(WORKERS) as pool, _ended_with_us():
            while todo.is_active():
                for name in todo.get_ready():
                    running[pool.submit(copy_context().run, self._shown, name)] = name
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    if self._ended(running.pop(future), future):
                        todo.done(self.done[-1].name)

    def _ended(self, name: str, future: Future[StageRun]) -> bool:
        try:
            self.done.append(future.result())
        except StageError as exc:
            self.failed[name] = exc
            self._show.failed(name, exc.reason)
            return False
        self._show.ended(self.done[-1])
        return True

    def _shown(self, name: str) -> StageRun:
        """Run a stage; inside of a Prefect run as its task."""
        self._show.started(name)
        if not in_prefect_run():
            return self._run(name, {})
        from tandem import prefect_runs  # noqa: PLC0415

        run = partial(self._run, name)
        told = prefect_runs.here if self._nested else prefect_runs.nowhere
        return prefect_runs.as_task(name, lambda: run(told()), lambda done: None if done.ran else "Cached")

    def _run(self, name: str, told: dict[str, str]) -> StageRun:
        if not hasattr(self._own, "graph"):
            self._own.graph = Graph(self._root)  # one a thread: DVC's is not to be shared
        graph: Graph = self._own.graph
        own = {TOLD_TO: self._pipe.name, WALKER: str(os.getpid())}
        try:
            return graph.run(name, force=self._force, told=self._beside | own | told)
        except StageError as exc:
            self._heard()
            raise StageError(name, exc.exit_code, self._reasons.get(name, exc.reason)) from exc

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Show what the stages' processes say into a pipe."""
        with TemporaryDirectory(prefix="tandem-") as folder:
            path = Path(folder) / "told"
            os.mkfifo(path)
            with open(path, "r+b", buffering=0) as self._pipe:  # noqa: PTH123 - of a path, not of its text
                listener = Thread(target=self._listen, daemon=True)
                listener.start()
                try:
                    yield
                finally:
                    self._pipe.write(b"null\n")
                    listener.join()

    def _heard(self) -> None:
        """Wait until all that was said before was heard."""
        heard = Event()
        number = id(heard)
        self._waiting[number] = heard
        self._pipe.write(f"{number}\n".encode())
        heard.wait()

    def _listen(self) -> None:
        rest = b""
        while True:
            *lines, rest = (rest + self._pipe.read(PIECE)).split(b"\n")
            for said in filter(None, map(_read, lines)):
                if said is END:
                    return
                if isinstance(said, int):
                    self._waiting.pop(said).set()
                elif "reason" in said:
                    self._reasons[said["stage"]] = said["reason"]
                else:
                    self._show.said(said["stage"], said["message"])


def _read(line: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return END if line == b"null" else json.loads(line)
    except ValueError:  # torn, by a process that was killed
        return None


@contextmanager
def _ended_with_us() -> Iterator[None]:
    """End the stages' processes when we are told to end; what they had begun is put back."""
    try:
        yield
    finally:
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if "DVC_STAGE" in process.environ():
                    process.terminate()


def walk(
    root: Path, show: Show, *, force: bool, nested: bool = True, beside: Mapping[str, str] = NOTHING
) -> list[StageRun]:
    """Run what changed; `beside` is more environment for the stages.

    Raises:
        StageError: a stage failed; the first one's words and exit code.

    """
    going = Walk(root, show, force=force, nested=nested, beside=beside)
    going.go()
    for failed in going.failed.values():
        raise failed
    return going.done
