"""The ASGI application: a call finds its route, is let in or not, and is answered by a face."""

import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from time import monotonic, perf_counter
from typing import NamedTuple

from tandem.errors import TandemError
from tandem.serving.access import Access
from tandem.serving.admission import FULL, PLACE
from tandem.serving.http import CLOSE, Call, Message, Receive, Reply, Route, Routes, Send
from tandem.serving.refused import PROBLEM, RETRY, Header, Refused
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
        """Answer one HTTP request."""
        if scope["type"] != "http":
            return
        reply = await self.answer(Call(scope, receive))
        headers = [reply.kind, (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    async def answer(self, call: Call) -> Reply:
        """Answer one call; what is refused says why."""
        start, scope, name = perf_counter(), call.scope, "none"
        method, path, admission = scope["method"], scope["path"], self._service.admission
        try:
            route, call.parts = self._routes.find("GET" if method == "HEAD" else method, path)
            name = route.name
            self._access.check(call, route)
            if route.costly:
                admission.admit(call)
            reply = await route.answer(call)
        except Refused as exc:
            reply = _refused(exc, path)
        except (TandemError, OSError) as exc:  # no fault of the request's: as a clock that has left all years
            reply = _refused(Refused(503, str(exc), RETRY), path)
        finally:
            if PLACE in scope:
                admission.give_back(scope)
        if more := [*passed_on(call.headers.items()), *([CLOSE] if self._service.leaving else ())]:
            reply = reply._replace(headers=(*reply.headers, *more))
        self._tell(Answered(method, path, name, reply.status, perf_counter() - start, call.request_id))
        return reply

    def costly(self, path: str) -> Route | None:
        """Give the route that a POST to a path takes, if it needs a place."""
        route = self._routes.plain("POST", path)
        return route if route and route.costly and not self._service.leaving else None

    def sent_away(self, route: Route) -> None:
        """Count a request that there was no room for."""
        self._service.admission.sent_away()
        self._tell(Answered(route.method, route.path, route.name, FULL[0], 0.0))

    def _tell(self, one: Answered) -> None:
        """Count an answer; and log it if that is asked for, or if it failed."""
        counts = self._service.counts
        counts.add("requests_total", one.endpoint, one.method, str(one.status))
        counts.observe("request_seconds", one.seconds, one.endpoint)
        if self._service.log_all:
            _log(one)
        elif one.status >= HTTPStatus.INTERNAL_SERVER_ERROR and (left_out := self._seldom()) is not None:
            _log(one, left_out)


def _refused(why: Refused, path: str) -> Reply:
    return Reply(why.body(path), PROBLEM, why.status, why.headers)


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
