"""The platform's process beside a server: what serving does without, done for it as long as it runs.

It takes up what the registry says, answers what a score is made of, and, if asked to, writes the snapshots that fall
due as world time goes on.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from flows.sync import Watch
from tandem.clock import Clock, floor
from tandem.params import Params
from tandem.problem import load_problem
from tandem.registry import Registry
from tandem.serving.traffic import BUNDLES
from tandem.settings import Settings
from tandem.snapshots import Named
from tandem.stop import Stop
from tasks.explain import Explainer, explaining
from tasks.told import tell_flows


@dataclass(frozen=True)
class Supply:
    """How it is done."""

    every: float = 1.0
    """Seconds between two looks."""
    refreshing: bool = False
    """Whether snapshots are written, too."""
    attached: bool = False
    """Whether it ends with standard input, as it does when whoever began it is gone."""


def supply(registry: Registry, params: Params, settings: Settings, how: Supply, tell: Callable[[str], None]) -> None:
    """Do so until SIGTERM or Ctrl-C."""
    stop, sync = Stop(), Watch(registry, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if how.attached:
        Thread(target=_until_the_end, args=(stop,), daemon=True).start()
    refresh = Refreshing(params, settings) if how.refreshing else None
    with explaining(settings.serving, Explainer(lambda digest: places(digest, params, settings))):
        while not stop.is_set():
            if said := sync.look():
                tell(said)
            if refresh:
                refresh.look()
            tell_flows(settings)
            stop.wait(how.every)


def _until_the_end(stop: Stop) -> None:
    while os.read(sys.stdin.fileno(), 4096):  # Python's own reader would be locked when we end first, and abort us
        pass
    stop.set()


def places(digest: str, params: Params, settings: Settings) -> list[Path]:
    """Name the folders in which a bundle may lie."""
    return [settings.serving / BUNDLES / digest, settings.of(params.problem) / "bundle"]


class Refreshing:
    """Writes the snapshots that are due in a process of its own, one at a time."""

    def __init__(self, params: Params, settings: Settings) -> None:
        """Write none yet."""
        self._params, self._settings, self._problem = params, settings, load_problem(params.problem)
        self._process: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Begin, if a tick is due that has no snapshot."""
        if self._process and self._process.poll() is None:
            return
        due = floor(Clock.of(self._problem, self._params, self._settings).now(), self._params.features.tick)
        if all(named.tick != due for named in Named.all(self._settings.snapshots)):
            command = [sys.executable, "-m", "flows.cli", "refresh"]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
