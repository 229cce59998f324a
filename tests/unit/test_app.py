"""The application as a server sees it: messages in, messages out."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tandem.errors import ParamsError
from tandem.serving.access import Access
from tandem.serving.admission import Admission
from tandem.serving.app import LINES, App
from tandem.serving.counts import Counts
from tandem.serving.http import FORM, JSON_KIND, Call, Patience, Reply, Route
from tandem.serving.refused import Fault, Refused
from tandem.serving.service import Service

LARGEST = 1000
Say = Callable[[Call], Awaitable[Reply]]


class Server:
    """An application of one endpoint for each case, and what a client sees of it."""

    def __init__(self, at_once: int = 8, size: int = 100_000) -> None:
        self.counts = Counts()
        admission = Admission(at_once, size, 10**6, self.counts)
        self.service = SimpleNamespace(counts=self.counts, leaving=False, log_all=False, admission=admission)
        self.patience = Patience(10.0)
        self.gate = asyncio.Event()
        routes = [
            Route("POST", "/length", self.length, "length", "predict", costly=True),
            Route("POST", "/wait", self.wait, "wait", "predict", costly=True),
            Route("POST", "/read", self.read, "read", "predict", costly=True),
            Route("GET", "/bad/{name}", self.bad, "bad", "read"),
            Route("GET", "/trouble", self.trouble, "trouble", "read"),
        ]
        access = Access(Path("none"), self.counts, required=False)
        self.app = App(routes, cast("Service", self.service), access)

    async def length(self, call: Call) -> Reply:
        call.must_be(JSON_KIND, FORM)
        return Reply(str(len(await call.body(LARGEST, self.patience, self.service.admission.came))).encode())

    async def wait(self, call: Call) -> Reply:
        await self.gate.wait()
        return await self.length(call)

    async def read(self, call: Call) -> Reply:
        told = await self.length(call)
        await self.gate.wait()
        return told

    async def bad(self, call: Call) -> Reply:
        raise Refused.of(Fault("$.name", "another name", call.parts["name"]))

    async def trouble(self, _: Call) -> Reply:
        msg = "world time has gone past the year 9999"
        raise ParamsError(msg)

    async def ask(
        self, *parts: bytes, method: str = "POST", path: str = "/length", kind: str = "http", **headers: str
    ) -> tuple[int, Any, dict[str, str], int]:
        """Send a body in parts: the status, the answer, its headers, and how many parts were read."""
        waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        waiting.append({"type": "http.request"})
        sent: list[Any] = []

        async def receive() -> Any:  # noqa: ANN401 - ASGI's
            return waiting.pop(0) if waiting else await asyncio.Event().wait()

        async def send(message: Any) -> None:  # noqa: ANN401
            sent.append(message)

        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": kind, "method": method, "path": path, "headers": given, "query_string": b""}
        await self.app(scope, receive, send)
        if not sent:
            return 0, None, {}, 0
        start, body = sent
        told = {name.decode(): value.decode() for name, value in start["headers"]}
        assert int(told["content-length"]) == len(body["body"])
        return start["status"], json.loads(body["body"]), told, len(parts) + 1 - len(waiting)


def run(asked: Callable[[Server], Awaitable[Any]], **made: int) -> Any:  # noqa: ANN401
    async def go() -> Any:  # noqa: ANN401
        return await asked(Server(**made))

    return asyncio.run(go())


def test_a_body_may_come_in_parts() -> None:
    assert run(lambda s: s.ask(b"[2", b", 4, ", b"", b"1]"))[:2] == (200, 9)
    assert run(lambda s: s.ask())[:2] == (200, 0)


def test_what_is_no_fault_of_the_request_is_told_as_such() -> None:
    status, said, headers, _ = run(lambda s: s.ask(method="GET", path="/trouble"))
    assert (status, said["detail"]) == (503, "world time has gone past the year 9999")
    assert headers["retry-after"]


def test_nothing_more_is_read_of_too_long_a_body() -> None:
    status, said, headers, read = run(lambda s: s.ask(b"[", b" " * LARGEST, b"1", b"]"))
    assert (status, read) == (413, 2)
    assert said["detail"] == f"a body of more than {LARGEST} bytes is not read"
    assert headers["content-type"] == "application/problem+json"
    assert run(lambda s: s.ask(b"1", content_length=str(LARGEST + 1)))[3] == 0


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def asked(server: Server) -> Any:  # noqa: ANN401
        async def receive() -> Any:  # noqa: ANN401
            return await asyncio.Event().wait()

        sent: list[Any] = []

        async def send(message: Any) -> None:  # noqa: ANN401
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/length", "headers": [], "query_string": b""}
        asking = asyncio.ensure_future(server.app(scope, receive, send))
        await asyncio.sleep(0)
        server.patience.look()
        assert not sent
        server.patience.seconds = -1
        server.patience.look()
        await asking
        return sent[0]["status"]

    assert run(asked) == 408


def test_a_client_that_leaves_is_no_error() -> None:
    async def asked(server: Server) -> Any:  # noqa: ANN401
        async def receive() -> Any:  # noqa: ANN401
            return {"type": "http.disconnect"}

        sent: list[Any] = []

        async def send(message: Any) -> None:  # noqa: ANN401
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/length", "headers": [], "query_string": b""}
        await server.app(scope, receive, send)
        return sent[0]["status"]

    assert run(asked) == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("POST", "/length", 200, None),
        ("GET", "/length", 405, "POST"),
        ("GET", "/", 404, None),
        ("GET", "/bad/a", 422, None),
        ("HEAD", "/bad/a", 422, None),
        ("DELETE", "/bad/a", 405, "GET"),
        ("GET", "/bad/a/b", 404, None),
        ("GET", "/bad/", 404, None),
    ],
)
def test_each_path_has_its_method(method: str, path: str, status: int, allow: str | None) -> None:
    told, said, headers, _ = run(lambda s: s.ask(method=method, path=path))
    assert (told, headers.get("allow")) == (status, allow)
    assert status == 200 or said["status"] == status


def test_what_is_wrong_is_told_by_its_path() -> None:
    said = run(lambda s: s.ask(method="GET", path="/bad/Zoe"))[1]
    assert said["title"] == "Unprocessable Content" or said["title"] == "Unprocessable Entity"  # before Python 3.13
    assert said["errors"] == [{"path": "$.name", "expected": "another name", "got": "Zoe"}]


@pytest.mark.parametrize(
    ("kind", "status"), [("application/json; charset=utf-8", 200), (FORM, 200), ("text/plain", 415), ("", 200)]
)
def test_the_type_of_a_body_is_looked_at(kind: str, status: int) -> None:
    assert run(lambda s: s.ask(b"1", content_type=kind))[0] == status


def test_the_clients_name_of_its_request_comes_back() -> None:
    assert run(lambda s: s.ask(x_request_id="mine"))[2]["x-request-id"] == "mine"


def test_a_server_that_leaves_says_so_on_each_answer() -> None:
    async def asked(server: Server) -> Any:  # noqa: ANN401
        server.service.leaving = True
        return await server.ask()

    assert run(asked)[2]["connection"] == "close"


def test_what_is_not_http_is_left_alone() -> None:
    assert run(lambda s: s.ask(kind="lifespan"))[0] == 0


@pytest.mark.parametrize(
    ("made", "length", "statuses"),
    [
        ({"at_once": 2}, 10, [200, 200, 503, 503]),
        ({"size": 25}, 10, [200, 200, 503, 503]),
        ({"size": 5}, 10, [200, 503, 503, 503]),  # one alone may be longer than all together
    ],
)
def test_more_than_can_be_answered_at_once_is_sent_away_unread(
    made: dict[str, int], length: int, statuses: list[int]
) -> None:
    async def asked(server: Server) -> Any:  # noqa: ANN401
        asking = [
            asyncio.ensure_future(server.ask(b"1" * length, path="/wait", content_length=str(length))) for _ in range(4)
        ]
        await asyncio.sleep(0)
        server.gate.set()
        told = await asyncio.gather(*asking)
        after = await server.ask(b"1")
        return [each[0] for each in told], [each[3] for each in told if each[0] == 503], after[0], server.counts

    told, read, after, counts = run(asked, **made)
    assert (told, set(read), after) == (statuses, {0}, 200)
    assert counts.of("refused_total", "busy") == statuses.count(503)
    assert counts.of("requests_total", "wait", "POST", "503") == statuses.count(503)


@pytest.mark.parametrize(
    ("made", "statuses", "read"),
    [
        ({"size": 30}, [200, 200, 503, 503], {2}),
        ({"size": 5}, [200, 503, 503, 503], {0}),
        ({"size": 100}, [200] * 4, set[int]()),
    ],
)
def test_what_comes_of_a_body_of_no_said_length_is_counted(
    made: dict[str, int], statuses: list[int], read: set[int]
) -> None:
    async def asked(server: Server) -> Any:  # noqa: ANN401
        asking = [asyncio.ensure_future(server.ask(*[b"1111"] * 3, path="/read")) for _ in range(4)]
        for _ in range(3):
            await asyncio.sleep(0)
        server.gate.set()
        told = await asyncio.gather(*asking)
        admission = server.service.admission
        return told, (admission.requests, admission.size), server.counts

    told, left, counts = run(asked, **made)
    assert ([each[0] for each in told], left) == (statuses, (0, 0))
    assert {each[3] for each in told if each[0] == 503} == read
    assert all(("connection" in each[2]) == bool(each[3]) for each in told if each[0] == 503)  # what is left unread
    assert counts.of("refused_total", "busy") == statuses.count(503)


def test_of_a_slow_body_what_has_come_takes_room_from_those_that_are_here() -> None:
    counts = Counts()
    admission, scope = Admission(8, 1000, 1000, counts), {"headers": [(b"content-length", b"900")], "path": "/"}
    call = Call(scope, cast("Any", None))
    admission.admit(call)
    room = []
    for come in (0, 100, 600, 900):
        admission.came(call, come)
        room.append((admission.is_full(500, coming=False), admission.is_full(500, coming=True)))
    assert room == [(False, True), (False, True), (True, True), (True, True)]
    admission.give_back(scope)
    admission.take({}, 1000, coming=False)
    assert (admission.requests, admission.size, admission.is_full(1, coming=False)) == (1, 1000, True)


def test_who_fails_at_all_is_not_busy_with_telling_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1.0]
    monkeypatch.setattr("tandem.serving.app.monotonic", lambda: now[0])

    async def asked(server: Server) -> None:
        server.gate.set()
        server.service.leaving = True
        server.service.admission = Admission(0, 0, 10**6, server.counts)
        server.service.admission.requests = 1
        for now[0] in (1.0, 2.5):
            for _ in range(LINES + 5):
                await server.ask(b"1", path="/wait")

    run(asked)
    told = [record.__dict__.get("left_out", 0) for record in caplog.records if record.name == "tandem.serving.app"]
    assert told == [0] * LINES + [5] + [0] * (LINES - 1)
