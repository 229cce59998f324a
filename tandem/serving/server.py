"""A worker: one process that answers on a socket, takes up what changes, and leaves without losing an answer."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from ipaddress import ip_address
from time import monotonic
from types import FrameType
from typing import TypeVar, cast

import uvloop

from tandem.clock import Clock
from tandem.errors import AddressError, TandemError
from tandem.imports import OF_UVICORN, without
from tandem.serving.about import About
from tandem.serving.access import Access
from tandem.serving.admission import Admission
from tandem.serving.app import App
from tandem.serving.contract import Limits
from tandem.serving.core import Core
from tandem.serving.counts import Counts
from tandem.serving.explain import Explain
from tandem.serving.invocations import Invocations
from tandem.serving.memory import Memory
from tandem.serving.metrics import Metrics, Sheets
from tandem.serving.native import Native
from tandem.serving.openapi import OpenApi
from tandem.serving.probes import Probes
from tandem.serving.protocol import Protocol
from tandem.serving.records import Records, recover
from tandem.serving.remembered import Remembered
from tandem.serving.served import Served, Source, Watched
from tandem.serving.service import Service
from tandem.serving.v2 import V2
from tandem.settings import Settings

with without(*OF_UVICORN):
    import uvicorn

log = logging.getLogger(__name__)
T = TypeVar("T")

BACKLOG = 1024
LOOK = 0.2
"""Seconds between two looks at what is served."""
TICKS = 10
"""Of uvicorn's, a second, between two looks at all connections."""
HANDSHAKES = 0.1
"""Seconds for connections that the kernel has half made."""
TURNS = 3
"""Of the loop, which lets in who waits: on a busy machine the seconds may have passed without one."""
LAST = 1.5
"""Seconds for who was let in and has not asked yet; a proxy must not keep an idle connection for as long."""
SO_ATTACH_FILTER, NO_SYN = 26, ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF_FFFF))
"""Linux's: a TCP header's flags, is SYN among them? Then drop it; let all else through."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's: how much may stay free at the heap's end, and what has a place of its own, given back when it is freed."""
LARGE = 1 << 20
"""Bytes for both: left alone, glibc raises them with each large request, until 64 MiB may stay."""
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody new in first: who was let in just now has yet to ask, and would find the door shut in its face."""
        self._leave()
        for each in sockets or []:
            turn_away(each)
        await asyncio.sleep(HANDSHAKES)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        end = monotonic() + LAST
        while self.server_state.connections and monotonic() < end:  # noqa: ASYNC110 - uvicorn tells of no end
            await asyncio.sleep(HANDSHAKES)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Answer on for a while, each with `Connection: close`; a second signal ends it at once."""
        if self._leaving or not self._drain or sig == signal.SIGINT:
            super().handle_exit(sig, frame)
            return
        self._leaving = True
        self._leave()
        asyncio.get_running_loop().call_later(self._drain, super().handle_exit, sig, frame)


class Trouble:
    """What fails in each round of looks, as on a full disk: it is told once, and the next round may find it mended."""

    def __init__(self) -> None:
        """Know of none."""
        self._before, self._now = set[str](), set[str]()

    def spare(self, do: Callable[[], T]) -> T | None:
        """Do something that may fail."""
        try:
            return do()
        except (TandemError, OSError) as exc:
            if (told := str(exc)) not in self._before | self._now:
                log.warning("what is served stays as it was: %s", told)
            self._now.add(told)
            return None

    def end_round(self) -> None:
        """Forget what did not fail again."""
        self._before, self._now = self._now, set()


class Worker:
    """All that one process serves with."""

    def __init__(self, source: Source, clock: Callable[[], Clock], settings: Settings, *, keys_required: bool) -> None:
        """Load what is served; inside of a running loop."""
        limits, counts = Limits(), Counts()
        self._clock_of, self._clock = clock, clock()
        self._trouble = Trouble()
        self._watched = Watched(source, settings.snapshots, counts)
        self._watched.look(self.now())
        recover(settings.ledger)
        self._records = Records(settings.ledger, synced=settings.durability == "power")
        memory = Memory(self._records, settings.durability)
        core = Core(self._watched, self.now, memory, counts)
        admission = Admission(settings.requests_at_once, settings.bytes_at_once, limits.body, counts)
        self.service = Service(self._watched, core, counts, limits, admission, settings.any_moment, settings.access_log)
        self._access = Access(settings.keys, counts, required=keys_required)
        self._sheets = Sheets(settings.serving / "metrics", self._records.writer)
        self._metrics = Metrics(self.service, self._sheets, settings.serving)
        faces = (
            Probes(self.service),
            Native(self.service),
            Explain(self.service, settings.serving),
            Remembered(self.service, memory),
            About(self.service),
            V2(self.service),
            Invocations(self.service),
            self._metrics,
        )
        routes = [route for face in faces for route in face.routes()]
        self.app = App([*routes, *OpenApi(self.service, routes).routes()], self.service, self._access)

    def now(self) -> datetime:
        """Tell world time."""
        return self._clock.now()

    async def look(self) -> None:
        """Take up what changes, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK)
            self.service.patience.look()
            self._watched.go_over(await loop.run_in_executor(None, self._see))
            self._trouble.spare(self._metrics.write)
            self._trouble.end_round()

    def _see(self) -> Served | None:
        """Look at all there is: a clock that cannot be read must not keep a key that was taken away."""
        self._trouble.spare(self._access.look)
        self._trouble.spare(self._read_clock)
        self._trouble.spare(self._records.look)
        return self._trouble.spare(lambda: self._watched.see(self.now()))

    def _read_clock(self) -> None:
        self._clock = self._clock_of()

    def leave(self) -> None:
        """Let nobody new come."""
        self.service.leaving = True

    def close(self) -> None:
        """Let go of what is written."""
        self._records.close()
        self._sheets.close()


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening(host: str, port: int) -> socket.socket:
    """Listen on an address, beside other workers of this user.

    Raises:
        AddressError: it cannot be had.

    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG, reuse_port=True
        )
    except OSError as exc:
        msg = f"{host}:{port} cannot be listened on: {exc.strerror}"
        raise AddressError(msg) from exc


def turn_away(opened: socket.socket) -> None:
    """Let nobody new knock, while who waits in the kernel's queue is let in: to close now would cut them off.

    Who knocks meanwhile does so again after a second, and finds another worker there, or nobody.
    """
    program = b"".join(struct.pack("HBBI", *each) for each in NO_SYN)
    held = ctypes.create_string_buffer(program)
    with contextlib.suppress(OSError):  # not on Linux
        opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(NO_SYN), ctypes.addressof(held)))


def settle() -> None:
    """Give back what loading left over, 3 MiB, and what large requests will; look for no garbage in what stays."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own pool keeps what a large stream took
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):  # glibc's alone
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGE)
        libc.malloc_trim(0)


def work(make: Callable[[], Worker], opened: socket.socket, drain: float, *, attached: bool) -> None:
    """Serve on a socket until told to stop."""

    async def serve() -> None:
        worker = make()
        config = uvicorn.Config(
            worker.app,
            http=cast("type[asyncio.Protocol]", partial(Protocol, worker.app, worker.service.admission)),
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
        settle()
        looking = asyncio.create_task(worker.look())
        if attached:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), server.handle_exit, signal.SIGTERM, None)
        sys.stdout.write(f"ready http://{':'.join(map(str, opened.getsockname()[:2]))}\n")
        sys.stdout.flush()
        try:
            await server.serve(sockets=[opened])
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            worker.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
