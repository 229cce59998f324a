"""A worker: one process that answers on a socket, takes up what changes, and leaves without losing an answer."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from datetime import datetime
from types import FrameType

import uvicorn
import uvloop

from tandem.clock import Clock
from tandem.errors import TandemError
from tandem.serving.access import Access
from tandem.serving.admission import Admission
from tandem.serving.app import App
from tandem.serving.contract import Limits
from tandem.serving.core import Core
from tandem.serving.counts import Counts
from tandem.serving.memory import Memory
from tandem.serving.native import Native
from tandem.serving.probes import Probes
from tandem.serving.records import Records, recover
from tandem.serving.remembered import Remembered
from tandem.serving.served import Source, Watched
from tandem.serving.service import Service
from tandem.settings import Settings

log = logging.getLogger(__name__)

LOOK = 0.2
"""Seconds between two looks at what is served."""


class Server(uvicorn.Server):
    """Serves until SIGTERM or Ctrl-C, and then for the drain time more."""

    def __init__(self, config: uvicorn.Config, drain: float, leave: Callable[[], None]) -> None:
        """Tell by `leave` that nobody new should come."""
        super().__init__(config)
        self._drain, self._leave, self._leaving = drain, leave, False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Answer on for a while, each with `Connection: close`; a second signal ends it at once."""
        if self._leaving or not self._drain or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        self._leaving = True
        self._leave()
        asyncio.get_running_loop().call_later(self._drain, super().handle_exit, sig, frame)


class Worker:
    """All that one process serves with."""

    def __init__(self, source: Source, clock: Callable[[], Clock], settings: Settings, *, keys_required: bool) -> None:
        """Load what is served; inside of a running loop."""
        limits, counts = Limits(), Counts()
        self._clock_of, self._clock = clock, clock()
        self._watched = Watched(source, settings.snapshots)
        self._watched.look(self.now())
        recover(settings.ledger)
        self._records = Records(settings.ledger, synced=settings.durability == "power")
        memory = Memory(self._records, settings.durability)
        core = Core(self._watched, self.now, memory, counts)
        self.service = Service(self._watched, core, counts, limits, any_moment=settings.any_moment)
        self._access = Access(settings.keys, counts, required=keys_required)
        faces = (Probes(self.service), Native(self.service), Remembered(self.service, memory))
        admission = Admission(settings.in_flight, settings.bytes_in_flight, counts)
        self.app = App([route for face in faces for route in face.routes()], self.service, admission, self._access)

    def now(self) -> datetime:
        """Tell world time."""
        return self._clock.now()

    async def look(self) -> None:
        """Take up what changes, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            self.service.patience.look()
            await loop.run_in_executor(None, self._look)

    def _look(self) -> None:
        try:
            self._clock = self._clock_of()
            self._access.look()
        except TandemError as exc:
            log.warning("what is served stays as it was: %s", exc)
        self._watched.look(self.now())

    def leave(self) -> None:
        """Let nobody new come."""
        self.service.leaving = True

    def close(self) -> None:
        """Let go of what is written."""
        self._records.close()


def work(make: Callable[[], Worker], listening: socket.socket, drain: float, ready: Callable[[], None]) -> None:
    """Serve on a socket until told to stop."""

    async def serve() -> None:
        worker = make()
        config = uvicorn.Config(
            worker.app, log_level="warning", lifespan="off", access_log=False, server_header=False, date_header=False
        )
        server = Server(config, drain, worker.leave)
        looking = asyncio.create_task(worker.look())
        ready()
        try:
            await server.serve(sockets=[listening])
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            worker.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
