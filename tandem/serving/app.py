"""The ASGI application: a call finds its route, is let in or not, and is answered by a face."""

import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from time import monotonic, perf_counter
from typing import NamedTuple

from tandem.serving.access import Access
from tandem.serving.admission import FULL, PLACE
from tandem.serving.http import CLOSE, Call, Message, Receive, Reply, Route, Routes, Send
from tandem.serving.refused import PROBLEM, Header, Refused
from tandem.serving.service import Service

log = logging.getLogger(__name__)

PASSED_ON = (b"x-request-id", b"traceparent")
TOLD = re.compile(rb"[\x21-\x7e]{1,128}")
"""What a client may call its request, and gets back."""

LINES = 20
"""Failures that are logged in a second: who fails at all that it is asked must not be busy with telling it."""


class Seldom:
    """Lets so many through in a second, and counts the others."""

    def __init__(self) -> None:
        """Let none through yet."""
        self._since, self._through, self._left_out = 0.0, 0, 0

    def __call__(self) -> int | None:
        """Give how many were held back since the last one that was let through; None holds this one back, too."""
        now = monotonic()
        if now - self._since >= 1:
            self._since, self._through = now, 0
        if self._through == LINES:
            self._left_out += 1
            return None
        self._through += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class Answered(NamedTuple):
    """What there is to tell of an answer."""

    method: str
    path: str
    endpoint: str
    status: int
    seconds: float
    request_id: str | None = None


class App:
    """Routes behind HTTP."""

    def __init__(self, routes: Iterable[Route], service: Service, access: Access) -> None:
        """Answer these routes to whom access lets in."""
        self._routes, self._service, self._access = Routes(routes), service, access
        self._seldom = Seldom()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; what is refused says why."""
        if scope["type"] != "http":
            return
        start, method, name = perf_counter(), scope["method"], "none"
        call, admission = Call(scope, receive), self._service.admission
        try:
            route, call.parts = self._routes.find("GET" if method == "HEAD" else method, scope["path"])
            name = route.name
            self._access.check(call, route)
            reply = await (admission.answer(call, route) if route.costly else route.answer(call))
        except Refused as exc:
            reply = Reply(exc.body(), PROBLEM, exc.status, exc.headers)
        finally:
            if PLACE in scope:
                admission.give_back(scope[PLACE])
        headers = [
            reply.kind,
            (b"content-length", b"%d" % len(reply.body)),
            *reply.headers,
            *passed_on(call.headers.items()),
        ]
        if self._service.leaving:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        self._tell(Answered(method, scope["path"], name, reply.status, perf_counter() - start, call.request_id))

    def sends_away(self, method: str, path: str, size: int) -> bool:
        """Say whether there is no room for a request of which the head is there, and count it if so."""
        service, admission = self._service, self._service.admission
        if service.leaving or size > admission.longest or not admission.is_full(size):
            return False
        route = self._routes.plain(method, path)
        if route is None or not route.costly:
            return False
        admission.sent_away()
        self._tell(Answered(method, path, route.name, FULL[0], 0.0))
        return True

    def _tell(self, one: Answered) -> None:
        """Count an answer; and log it if that is asked for, or if it failed."""
        counts = self._service.counts
        counts.add("requests_total", one.endpoint, one.method, str(one.status))
        counts.observe("request_seconds", one.seconds, one.endpoint)
        if self._service.log_all:
            _log(one)
        elif one.status >= HTTPStatus.INTERNAL_SERVER_ERROR and (left_out := self._seldom()) is not None:
            _log(one, left_out)


def _log(one: Answered, left_out: int = 0) -> None:
    """Tell of one answer; no body, no header but the client's own name of it, and no query, which may be personal."""
    path, ms = one.path[:200], round(one.seconds * 1e3, 3)
    said = {"method": one.method, "path": path, "status": one.status, "ms": ms}
    said |= {"request_id": one.request_id} if one.request_id else {}
    said |= {"left_out": left_out} if left_out else {}
    level = logging.WARNING if one.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO
    log.log(level, "%s %s %s", one.method, path, one.status, extra=said)


def passed_on(headers: Iterable[Header]) -> list[Header]:
    """Pick what a client gets back as it came: its own names of its request."""
    return [(name, told) for name, told in headers if name in PASSED_ON and TOLD.fullmatch(told)]
