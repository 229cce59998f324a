"""Connections without a network: what comes in one piece and what does not get the same answers, in their order."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from tandem.serving.access import Access
from tandem.serving.admission import Admission
from tandem.serving.app import App
from tandem.serving.counts import Counts
from tandem.serving.http import Call, Patience, Reply, Route
from tandem.serving.protocol import Protocol
from tandem.serving.refused import Refused
from tandem.serving.service import Service


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.said, self.closed, self.paused, self.ended = b"", False, False, False

    def write(self, data: bytes) -> None:
        assert not self.ended, "as uvloop's own says"
        self.said += data

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_extra_info(self, _: str) -> None:
        return None


class Connected:
    """A connection to an application that says how often it was asked, and what."""

    def __init__(self, at_once: int = 8) -> None:
        self.counts, self.asked, self.gate = Counts(), 0, asyncio.Event()
        self.waiting: list[asyncio.Future[None]] = []
        self.admission = Admission(at_once, 1000, 1000, self.counts)
        service = SimpleNamespace(counts=self.counts, leaving=False, log_all=False, admission=self.admission)
        routes = [
            Route("POST", path, self.answer, path, "predict", costly=True, plain=plain)
            for path, plain in (("/plain", True), ("/task", False))
        ]
        access = Access(Path("none"), self.counts, required=False)
        app = App(routes, cast("Service", service), access)
        config = uvicorn.Config(app, ws="none", lifespan="off", log_level="critical")
        config.load()
        self.state, self.wire = ServerState(), Wire()
        self.protocol = Protocol(app, self.admission, config=config, server_state=self.state, app_state={})
        self.protocol.connection_made(cast("asyncio.Transport", self.wire))

    async def answer(self, call: Call) -> Reply:
        body = await call.body(1000, Patience(10.0), self.admission.came)
        self.asked += 1
        number = self.asked
        if body == b"refuse":
            raise Refused(422, "no")
        if body == b"fail":
            raise ZeroDivisionError
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]
        return Reply(b"%d %b" % (number, body))

    async def says(self, *parts: bytes) -> bytes:
        """Send pieces, let all that waits go on, and give what came back."""
        for part in parts:
            self.protocol.data_received(part)
            await asyncio.sleep(0)
        await self.settle()
        return self.wire.said

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
            while self.waiting:
                self.waiting.pop().set_result(None)


def request(body: bytes, path: str = "/plain", *headers: str) -> bytes:
    said = "".join(f"{each}\r\n" for each in headers)
    return f"POST {path} HTTP/1.1\r\nhost: x\r\n{said}content-length: {len(body)}\r\n\r\n".encode() + body


def ok(body: bytes, *headers: bytes) -> bytes:
    said = b"".join(b"%b\r\n" % each for each in headers)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b\r\n%b" % (
        len(body), said, body,
    )  # fmt: skip


def run(asked: Callable[[Connected], Awaitable[Any]], **made: int) -> Any:  # noqa: ANN401
    async def go() -> Any:  # noqa: ANN401
        connected = Connected(**made)
        told = await asked(connected)
        assert (connected.admission.requests, connected.admission.size) == (0, 0), "each place is given back, once"
        return told

    return asyncio.run(go())


def test_what_comes_whole_is_answered_without_a_task() -> None:
    async def asked(one: Connected) -> tuple[int, bool, bytes]:
        one.protocol.data_received(request(b"a"))
        return len(one.state.tasks), bool(one.waiting), await one.says()

    assert run(asked) == (0, True, ok(b"1 a"))


@pytest.mark.parametrize("cut", [5, 30, -3, -1])
def test_what_comes_in_pieces_gets_the_same_answer(cut: int) -> None:
    whole = request(b"abcdef", "/plain", "x-request-id: mine")
    assert run(lambda one: one.says(whole[:cut], whole[cut:])) == ok(b"1 abcdef", b"x-request-id: mine")
    assert run(lambda one: one.says(whole)) == ok(b"1 abcdef", b"x-request-id: mine")


def test_a_body_that_is_to_come_is_waited_for_in_a_task_that_has_a_place() -> None:
    async def asked(one: Connected) -> tuple[int, int, bytes]:
        whole = request(b"ab")
        one.protocol.data_received(whole[:-1])
        return len(one.state.tasks), one.admission.requests, await one.says(whole[-1:])

    assert run(asked) == (1, 1, ok(b"1 ab"))


@pytest.mark.parametrize("paths", [("/plain", "/plain"), ("/plain", "/task"), ("/task", "/plain")])
def test_answers_come_in_the_order_of_their_requests(paths: tuple[str, str]) -> None:
    both = request(b"a", paths[0]) + request(b"b", paths[1])
    assert run(lambda one: one.says(both)) == ok(b"1 a") + ok(b"2 b")
    assert run(lambda one: one.says(both, request(b"c"))) == ok(b"1 a") + ok(b"2 b") + ok(b"3 c")


@pytest.mark.parametrize(("body", "status"), [(b"refuse", b"422 "), (b"fail", b"500 ")])
def test_a_failure_is_told_and_the_connection_goes_on(body: bytes, status: bytes) -> None:
    said: bytes = run(lambda one: one.says(request(body), request(b"a")))
    assert said.startswith(b"HTTP/1.1 " + status)
    assert said.endswith(ok(b"2 a"))


def test_who_leaves_gives_the_place_back_and_hears_nothing() -> None:
    async def asked(one: Connected) -> bytes:
        one.protocol.data_received(request(b"a"))
        assert one.admission.requests == 1
        one.wire.closed = True
        one.protocol.connection_lost(None)
        return await one.says()

    assert run(asked) == b""


def test_a_server_that_ends_answers_what_it_was_asked_and_closes() -> None:
    async def asked(one: Connected) -> tuple[bytes, bool]:
        one.protocol.data_received(request(b"a"))
        one.protocol.shutdown()
        return await one.says(), one.wire.closed

    assert run(asked) == (ok(b"1 a", b"connection: close"), True)


def test_one_too_many_is_sent_away_whatever_its_path_waits_for() -> None:
    async def asked(one: Connected) -> bytes:
        scope: dict[str, Any] = {}
        one.admission.take(scope, 10, coming=False)
        told = await one.says(request(b"a"), request(b"b", "/task"))
        one.admission.give_back(scope)
        return told

    assert run(asked, at_once=1).count(b"HTTP/1.1 503 ") == 2


@pytest.mark.parametrize("path", ["/task", "/plain", "/nothing"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_body_that_breaks_off_is_told_of_once(method: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    said: bytes = run(lambda one: one.says(head + b"zz\r\n"))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert not [record for record in caplog.records if record.exc_info]


def test_a_body_that_does_not_come_is_in_the_way_of_none_that_is_here() -> None:
    async def asked(one: Connected) -> bytes:
        slow: dict[str, Any] = {}
        one.admission.take(slow, 900, coming=True)
        whole, late = request(b"a" * 500), request(b"b" * 900)
        told = await one.says(whole, late[:-890])
        await one.says(late[-890:])
        one.admission.give_back(slow)
        return told

    assert re.findall(rb"HTTP/1.1 (\d+)", run(asked)) == [b"200", b"503"]
