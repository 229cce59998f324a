"""The ASGI application: a call finds its route, is let in or not, and is answered by a face."""

from collections.abc import Iterable
from time import perf_counter

from tandem.serving.access import Access
from tandem.serving.admission import Admission
from tandem.serving.http import CLOSE, Call, Message, Receive, Reply, Route, Routes, Send
from tandem.serving.refused import PROBLEM, Refused
from tandem.serving.service import Service


class App:
    """Routes behind HTTP."""

    def __init__(self, routes: Iterable[Route], service: Service, admission: Admission, access: Access) -> None:
        """Answer these routes to whom access lets in."""
        self._find, self._service, self._admission, self._access = Routes(routes).find, service, admission, access

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; what is refused says why."""
        if scope["type"] != "http":
            return
        start, method, name = perf_counter(), scope["method"], "none"
        call = Call(scope, receive)
        try:
            route, call.parts = self._find("GET" if method == "HEAD" else method, scope["path"])
            name = route.name
            self._access.check(call, route)
            reply = await (self._admission.answer(call, route) if route.costly else route.answer(call))
        except Refused as exc:
            reply = Reply(exc.body(), PROBLEM, exc.status, exc.headers)
        headers = [reply.kind, (b"content-length", b"%d" % len(reply.body)), *reply.headers]
        if named := call.headers.get(b"x-request-id"):
            headers.append((b"x-request-id", named[:128]))
        if self._service.leaving:
            headers.append(CLOSE)
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        self._service.counts.answered(name, method, reply.status, perf_counter() - start)
