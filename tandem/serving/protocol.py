"""HTTP/1.1 as uvicorn speaks it, but what came whole in one piece is answered at once.

What is plain takes no task, no second write and nothing that uvicorn keeps of a request; all else goes its way.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from time import monotonic
from typing import Any, cast

from tandem.imports import OF_UVICORN, without
from tandem.serving.admission import FULL, Admission
from tandem.serving.app import App, passed_on
from tandem.serving.bounds import Bounded, written
from tandem.serving.http import CLOSE, Call, Message, Reply, announced
from tandem.serving.refused import PROBLEM, Refused

with without(*OF_UVICORN):
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

log = logging.getLogger(__name__)

Answering = Coroutine["asyncio.Future[Any]", None, Reply]
CONTINUE = b"HTTP/1.1 100 "
FULL_HEAD, FULL_BODY = written(Refused(*FULL))
"""Made once: to send away must cost little of what it is to save."""


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


class Protocol(Bounded):
    """One connection."""

    def __init__(self, answering: App, admission: Admission, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Expect a request."""
        super().__init__(**named)
        self._answering, self._admission = answering, admission
        self._held: Message | None = None
        """The scope of a request whose body may be whole in what came; `_parts` are what there is of it."""
        self._parts: list[bytes] = []
        self._away = False
        """Whether it was sent away, and its body is for nobody."""
        self._answered: RequestResponseCycle | Direct | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self._whole = Whole(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; uvicorn tells the last one that came, which may be another."""
        if self._answered:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; the rest of what is not whole by then is waited for."""
        super().data_received(data)
        if self._held and not self._over:
            self._ask_for_the_rest()

    def on_response_complete(self) -> None:
        """Send what is held back of it, as an answer to HEAD has no body, and go on."""
        self._whole.flush()
        super().on_response_complete()

    def _begin(self) -> None:
        """Answer it once its body is whole, if that came with it; or send it away, or let uvicorn ask for an answer."""
        path, _, query = self.url.decode("latin-1").partition("?")
        route = self._answering.costly(path) if self._is_simple() else None
        size = announced(self.headers) if route else 0
        if route is None or size > self._admission.longest:
            self._ask()
        elif self._admission.is_full(size, coming=size > self._size):
            self._away = True
            self._answering.sent_away(route)
            names = b"".join(b"%b: %b\r\n" % header for header in passed_on(self.headers))
            self.transport.write(b"%b%b\r\n%b" % (FULL_HEAD, names, FULL_BODY))
        elif route.plain and size:
            said = {"method": "POST", "path": path, "query_string": query.encode("latin-1")}
            self._held = said | {"headers": self.headers}
        else:
            self._ask()

    def _take(self, body: bytes) -> None:
        if self._held:
            self._parts.append(body)
        elif not self._away:
            super()._take(body)

    def _end(self) -> None:
        if self._away:
            self._away, self._rests = False, monotonic()
        elif self._held:
            self._answer(self._held)
        else:
            super()._end()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401
        self._answered = cycle
        scope = cast("Message", cycle.scope)
        size = announced(scope["headers"])
        admission, coming = self._admission, size > self._size
        if scope["method"] == "POST" and size <= admission.longest and not admission.is_full(size, coming=coming):
            admission.take(scope, size, coming=coming)  # now, as all heads of a turn come before the first is answered
        super()._start_asgi_task(cycle, app)

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
        super()._begin()
        self.cycle.transport = self._whole  # type: ignore[assignment]

    def _ask_for_the_rest(self) -> None:
        """Let uvicorn wait for a body that is not whole yet."""
        parts, self._parts, self._held = self._parts, [], None
        self._ask()
        for part in parts:
            super()._take(part)

    def _answer(self, scope: Message) -> None:
        """Answer at once, or with all others of this turn of the loop."""
        body, self._parts, self._held = b"".join(self._parts), [], None
        self._admission.take(scope, len(body), coming=False)
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
