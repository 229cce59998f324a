"""HTTP/1.1 as uvicorn speaks it, with an end to how much a client sends beside its bodies, and how slowly."""

from time import monotonic
from typing import Any

import httptools

from tandem.imports import OF_UVICORN, without
from tandem.serving.http import CLOSE
from tandem.serving.refused import PROBLEM, Header, Refused

with without(*OF_UVICORN):
    from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

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


class Bounded(HttpToolsProtocol):
    """One connection that must keep moving."""

    def __init__(self, **named: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Expect a request."""
        super().__init__(**named)
        self._since = monotonic()
        """When the request that is not whole yet began; 0 when there is none."""
        self._fed = self._size = 0
        """Bytes since something of it came whole, and of the last that came."""
        self._in_head = self._over = self._began = False
        """Whether its head is not whole, nothing more is read, and it began with what came last."""
        self._left, self._moved = 0, self._since
        """Bytes that the client has not taken yet, and when it took some."""
        self._rests = 0.0
        """Since when it has nothing to do; a timer for each answer would cost too much."""

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

    def on_message_begin(self) -> None:
        """Begin with a request; what uvicorn makes of it is made once it is known to be needed."""
        self._in_head = self._began = True
        self._fed = 0
        self._since = self._since or monotonic()
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Answer it, unless its head is too long or too many wait."""
        if (self._size > HEAD or not self._began) and self._head() > HEAD:
            raise Refused(*LONG)
        if len(self.pipeline) >= PIPELINED:
            raise Refused(*BROKEN)
        self._in_head, self._fed = False, 0
        self._begin()

    def on_body(self, body: bytes) -> None:
        """Take a part of its body."""
        self._fed = 0
        self._take(body)

    def on_message_complete(self) -> None:
        """End it."""
        self._since, self._fed = 0.0, 0
        self._end()

    def _begin(self) -> None:
        """Begin to answer a request whose head is whole: uvicorn asks the application, in a task."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _take(self, body: bytes) -> None:
        super().on_body(body)

    def _end(self) -> None:
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what waits; uvicorn would set a timer for who has nothing more to ask, which `look` parts with."""
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif not self._since:
            self._rests = monotonic()

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
            self.transport.write(b"%b\r\n%b" % written(why, CLOSE))
            self.transport.write_eof()
            self._since = self._since or monotonic()
            if cycle is not None and not cycle.response_complete:  # whoever still answers it would write after the end
                cycle.disconnected = True
                cycle.message_event.set()
        elif cycle.more_body:
            self.transport.close()
        else:
            cycle.keep_alive = False


def written(why: Refused, *more: Header) -> tuple[bytes, bytes]:
    """Write a refusal's head, but for its end, and its body."""
    body = why.body()
    headers = (PROBLEM, (b"content-length", b"%d" % len(body)), *why.headers, *more)
    return STATUS_LINE[why.status] + b"".join(b"%b: %b\r\n" % header for header in headers), body
