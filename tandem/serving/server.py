"""A worker: one process that answers on a socket, takes up what changes, and leaves without losing an answer."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from datetime import datetime
from time import monotonic
from types import FrameType
from typing import cast

import uvicorn
import uvloop

from tandem.clock import Clock
from tandem.errors import TandemError
from tandem.serving.about import About
from tandem.serving.access import Access
from tandem.serving.admission import Admission
from tandem.serving.app import App
from tandem.serving.contract import Limits
from tandem.serving.core import Core
from tandem.serving.counts import Counts
from tandem.serving.invocations import Invocations
from tandem.serving.memory import Memory
from tandem.serving.native import Native
from tandem.serving.openapi import OpenApi
from tandem.serving.probes import Probes
from tandem.serving.protocol import Protocol
from tandem.serving.records import Records
from tandem.serving.served import Source, Watched
from tandem.serving.service import Service
from tandem.serving.v2 import V2
from tandem.settings import Settings

log = logging.getLogger(__name__)

LOOK = 0.2
"""Seconds between two looks at what is served."""
TICKS = 10
"""Of uvicorn's, a second, between two looks at all connections."""
GRACE = 10
"""Seconds for what is being answered when the drain time is over."""


class Server(uvicorn.Server):
    """Serves until SIGTERM or Ctrl-C, and then for the drain time more."""

    def __init__(self, config: uvicorn.Config, drain: float, leave: Callable[[], None]) -> None:
        """Tell by `leave` that nobody new should come."""
        super().__init__(config)
        self._drain, self._leave, self._leaving = drain, leave, False

    async def on_tick(self, counter: int) -> bool:
        """Part with clients that are too slow."""
        if counter % TICKS == 0:
            now = monotonic()
            for connection in list(self.server_state.connections):
                cast("Protocol", connection).look(now)
        return await super().on_tick(counter)

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
        self._records = Records(settings.ledger)
        core = Core(self._watched, self.now, Memory(self._records, settings.durability), counts)
        self.service = Service(self._watched, core, counts, limits, any_moment=settings.any_moment)
        self._access = Access(settings.keys, counts, required=keys_required)
        faces = (Probes, Native, About, V2, Invocations)
        routes = [route for face in faces for route in face(self.service).routes()]
        routes += OpenApi(self.service, routes).routes()
        admission = Admission(settings.in_flight, settings.bytes_in_flight, limits.body, counts)
        self.app = App(routes, self.service, admission, self._access)

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
            worker.app,
            http=Protocol,
            ws="none",
            log_level="warning",
            lifespan="off",
            proxy_headers=False,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE,
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
