"""HTTP/1.1 as uvicorn speaks it, with an end to how much a client sends beside its bodies, and how slowly."""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from time import monotonic
from typing import Any

import httptools

from tandem.imports import OF_UVICORN, without
from tandem.serving.admission import FULL, PLACE, Admission
from tandem.serving.app import App, passed_on
from tandem.serving.http import CLOSE, Call, Message, Reply, announced
from tandem.serving.refused import PROBLEM, Header, Refused

with without(*OF_UVICORN):
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

log = logging.getLogger(__name__)

Answering = Coroutine["asyncio.Future[Any]", None, Reply]
CONTINUE = b"HTTP/1.1 100 "
HEAD = 64 * 1024
"""Bytes of a request's line and headers, and of what else is no body."""
LEFT = 16 * 1024 * 1024
"""Bytes that are thrown away after an answer that ends a connection: to close on them would take the answer back."""
SECONDS = 10.0
"""For a head to come, for what nobody reads any more, and for an answer to be taken."""
PIPELINED = 64
"""Requests of one connection that wait for those before them."""
BROKEN = (400, "this is no HTTP request")
LATE = (408, f"the request did not come within {SECONDS:g} s")
LONG = (431, f"a request's line and headers are {HEAD} bytes at most")


class Whole:
    """A transport for answers: head and body go out in one write, as two would cost a tenth of an answer more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Hold nothing back yet."""
        self._transport, self._head = transport, b""
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Hold back a head until its body comes, or there is none."""
        if not self._head and not data.startswith(CONTINUE):
            self._head = data
            return
        self._transport.write(self._head + data)
        self._head = b""

    def flush(self) -> None:
        """Send what is held back."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Send it, and close."""
        self.flush()
        self._transport.close()


class Direct:
    """A request that came whole in one piece and is answered without a task; to uvicorn it is a cycle like others."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")
    response_started = more_body = False
    message_event = asyncio.Event()
    """Nobody waits for it."""

    def __init__(self) -> None:
        """Begin to be answered."""
        self.disconnected = self.response_complete = False
        self.keep_alive = True


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, answering: App, admission: Admission, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Expect a request."""
        super().__init__(**named)
        self._answering, self._admission = answering, admission
        self._since = monotonic()
        """When the request that is not whole yet began; 0 when there is none."""
        self._fed = self._size = 0
        """Bytes since something of it came whole, and of the last that came."""
        self._in_head = self._over = self._began = self._away = False
        """Whether its head is not whole, nothing more is read, it began with what came last, and it was sent away."""
        self._held: Message | None = None
        """The scope of a request whose body may be whole in what came; `_parts` are what there is of it."""
        self._parts: list[bytes] = []
        self._answered: RequestResponseCycle | Direct | None = None
        self._left, self._moved = 0, self._since
        """Bytes that the client has not taken yet, and when it took some."""
        self._rests = 0.0
        """Since when it has nothing to do; a timer for each answer would cost too much."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._whole = Whole(transport)

    def on_response_complete(self) -> None:
        """Go on with what waits; uvicorn would set a timer for who has nothing more to ask, which `look` parts with."""
        self._whole.flush()  # an answer to HEAD had no body
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._since:
            self._rests = monotonic()

    def data_received(self, data: bytes) -> None:
        """Take what came; unlike uvicorn write no log of it, which anybody could fill."""
        if self._over:
            self._fed += len(data)
            if self._fed > LEFT:
                self.transport.close()
            return
        self._rests = 0.0
        if not self._since:
            self._since = monotonic()
        self._size, self._began = len(data), False
        self._fed += self._size
        if self._fed - self._size > HEAD:
            self._refuse(Refused(*LONG))
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # not offered, so it is answered as if it were not asked for
        except httptools.HttpParserError as exc:
            why = exc.__context__
            self._refuse(why if isinstance(why, Refused) else Refused(*BROKEN))
            return
        if self._held:
            self._ask_for_the_rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; uvicorn tells the last one that came, which may be another."""
        if self._answered:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401
        self._answered = cycle
        size = announced(cycle.scope["headers"])
        if cycle.scope["method"] == "POST" and size <= self._admission.longest and not self._admission.is_full(size):
            self._admission.take(size)  # now, as all heads of a turn come before the first of them is answered
            cycle.scope[PLACE] = size  # type: ignore[literal-required]
        super()._start_asgi_task(cycle, app)

    def on_message_begin(self) -> None:
        """Begin with a request; what uvicorn makes of it is made once it is known to be needed."""
        self._in_head = self._began = True
        self._fed = 0
        self._since = self._since or monotonic()
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Answer it, unless its head is too long, too many wait, or there is no room."""
        if (self._size > HEAD or not self._began) and self._head() > HEAD:
            raise Refused(*LONG)
        if len(self.pipeline) >= PIPELINED:
            raise Refused(*BROKEN)
        self._in_head, self._fed = False, 0
        path, _, query = self.url.decode("latin-1").partition("?")
        route = self._answering.costly(path) if self._is_simple() else None
        size = announced(self.headers) if route else 0
        if route is None or size > self._admission.longest:
            self._ask()
        elif self._admission.is_full(size):
            self._away = True
            self._answering.sent_away(route)
            names = b"".join(b"%b: %b\r\n" % header for header in passed_on(self.headers))
            self.transport.write(b"%b%b\r\n%b" % (FULL_HEAD, names, FULL_BODY))
        elif route.plain and size:
            said = {"method": "POST", "path": path, "query_string": query.encode("latin-1")}
            self._held = said | {"headers": self.headers, PLACE: size}
        else:
            self._ask()

    def on_body(self, body: bytes) -> None:
        """Take a part of its body."""
        self._fed = 0
        if self._held:
            self._parts.append(body)
        elif not self._away:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End it."""
        self._since, self._fed = 0.0, 0
        if self._away:
            self._away, self._rests = False, monotonic()
        elif self._held:
            self._answer(self._held)
        else:
            super().on_message_complete()

    def _is_simple(self) -> bool:
        """Say whether nothing stands between this request and an answer in one piece."""
        before, parser = self.cycle, self.parser
        return (
            (before is None or before.response_complete)
            and parser.get_method() == b"POST"
            and not self.expect_100_continue
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.flow.write_paused
        )

    def _ask(self) -> None:
        """Let uvicorn ask the application, in a task."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()
        self.cycle.transport = self._whole  # type: ignore[assignment]

    def _ask_for_the_rest(self) -> None:
        """Let uvicorn wait for a body that is not whole yet."""
        parts, self._parts, self._held = self._parts, [], None
        self._ask()
        for part in parts:
            super().on_body(part)

    def _answer(self, scope: Message) -> None:
        """Answer at once, or with all others of this turn of the loop."""
        body, self._parts, self._held = b"".join(self._parts), [], None
        self._admission.take(scope[PLACE])
        self.cycle = self._answered = direct = Direct()  # type: ignore[assignment]
        self._go_on(direct, self._answering.answer(Call(scope, body)))

    def _go_on(self, direct: Direct, answering: Answering, _: object = None) -> None:
        """Take the next step of an answer: what a task does, but for a turn of the loop before the first one."""
        try:
            waits = answering.send(None)
        except StopIteration as done:
            self._told(direct, done.value)
        except Exception as exc:
            log.exception("a request failed")
            why = Refused(500, f"the answer failed: {exc}")
            self._told(direct, Reply(why.body(), PROBLEM, why.status))
        else:
            waits.add_done_callback(partial(self._go_on, direct, answering))

    def _told(self, direct: Direct, reply: Reply) -> None:
        direct.response_complete = True
        if not self.transport.is_closing():
            more = () if direct.keep_alive or CLOSE in reply.headers else (CLOSE,)
            head = b"".join([b"%b: %b\r\n" % each for each in (*reply.headers, *more)])
            said = (STATUS_LINE[reply.status], *reply.kind, len(reply.body), head, reply.body)
            self.transport.write(b"%b%b: %b\r\ncontent-length: %d\r\n%b\r\n%b" % said)
            if not direct.keep_alive or CLOSE in reply.headers:
                self.transport.close()
        self.on_response_complete()

    def look(self, now: float) -> None:
        """Part with a client that is too slow."""
        left = self.transport.get_write_buffer_size()
        if not left or left < self._left:
            self._moved = now
        elif now - self._moved > SECONDS:
            self.transport.abort()
        self._left = left
        if self._rests and now - self._rests > self.timeout_keep_alive:
            self.transport.close()
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._since and now - self._since > SECONDS and not answering:
            if self._in_head and not self._over:
                self._refuse(Refused(*LATE))
            else:
                self.transport.close()

    def _head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self, why: Refused) -> None:
        """Read no more; what came whole before is answered first."""
        self._over = True
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (cycle.more_body and not cycle.response_started):
            self.transport.write(b"%b\r\n%b" % _parts(why, CLOSE))
            self.transport.write_eof()
            self._since = self._since or monotonic()
        elif cycle.more_body:
            self.transport.close()
        else:
            cycle.keep_alive = False


def _parts(why: Refused, *more: Header) -> tuple[bytes, bytes]:
    body = why.body()
    headers = (PROBLEM, (b"content-length", b"%d" % len(body)), *why.headers, *more)
    return STATUS_LINE[why.status] + b"".join(b"%b: %b\r\n" % header for header in headers), body


FULL_HEAD, FULL_BODY = _parts(Refused(*FULL))
"""Made once: to send away must cost little of what it is to save."""
