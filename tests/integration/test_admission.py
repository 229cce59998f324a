"""A server that is full: who comes is sent away on the head of the request, and nothing of it is lost or left behind."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest
from commands import served
from conftest import Workspace

from tandem.problem import load_problem

ASKED = json.dumps({"instances": [load_problem("parcels").example()]}).encode()
BEGUN = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(ASKED)
WHOLE = BEGUN + ASKED


class Client:
    """A connection of plain HTTP."""

    def __init__(self, address: str) -> None:
        where = urlsplit(address)
        self.socket = socket.create_connection((where.hostname or "", where.port or 0), timeout=20)
        self._file = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        return self._file.readline()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status = int(self.line().split()[1])
        headers = {}
        while (line := self.line()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, self._file.read(int(headers["content-length"]))

    def status(self, data: bytes) -> int:
        self.send(data)
        return self.answer()[0]

    def is_closed(self) -> bool:
        return self._file.read() == b""

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Full:
    """A server with one place, which a request holds whose body is still to come."""

    def __init__(self, address: str, stack: ExitStack) -> None:
        self.address, self._stack = address, stack
        self.holder, self.other = self.client(), self.client()
        self.holder.send(BEGUN)
        assert any(self.told("at_once") == 1 for _ in range(1000))

    def client(self) -> Client:
        client = Client(self.address)
        self._stack.callback(client.close)
        return client

    def told(self, metric: str) -> float:
        lines = httpx.get(f"{self.address}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"tandem_{metric}"))


@pytest.fixture(scope="module")
def address(built: Workspace) -> Iterator[str]:
    with served(built.root, beside={"TANDEM_REQUESTS_AT_ONCE": "1"}) as (address, _):
        yield address


@pytest.fixture
def full(address: str) -> Iterator[Full]:
    with ExitStack() as stack:
        found = Full(address, stack)
        yield found
        assert found.holder.status(ASKED) == 200
        assert found.other.status(WHOLE) == 200


def test_it_is_told_when_to_come_again_and_keeps_its_connection(full: Full) -> None:
    before = full.told('refused_total{reason="busy"}')
    full.other.send(BEGUN.replace(b"host", b"x-request-id: mine\r\nhost") + ASKED)
    status, headers, body = full.other.answer()
    assert (status, headers["retry-after"], headers["x-request-id"]) == (503, "1", "mine")
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == 503
    assert full.told('refused_total{reason="busy"}') == before + 1
    assert full.other.status(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n") == 200


def test_its_body_is_thrown_away_however_it_comes(full: Full) -> None:
    full.other.send(WHOLE[:-7])
    assert full.other.answer()[0] == 503  # before its body is whole
    full.other.send(WHOLE[-7:])
    chunked = BEGUN.replace(b"content-length: %d" % len(ASKED), b"transfer-encoding: chunked")
    assert full.other.status(chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ASKED), ASKED)) == 503
    full.other.send(WHOLE * 3)
    assert [full.other.answer()[0] for _ in range(3)] == [503] * 3


def test_requests_in_a_row_are_answered_in_their_order(full: Full) -> None:
    full.other.send(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" + WHOLE + b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert [full.other.answer()[0] for _ in range(3)] == [200, 503, 200]


def test_who_would_leave_anyway_is_told_so(full: Full) -> None:
    leaving = full.client()
    leaving.send(BEGUN.replace(b"host", b"connection: close\r\nhost") + ASKED)
    status, headers, _ = leaving.answer()
    assert (status, headers["connection"]) == (503, "close")
    assert leaving.is_closed()


def test_who_was_sent_away_and_does_not_come_again_is_let_go(full: Full) -> None:
    resting = full.client()
    assert resting.status(WHOLE) == 503
    assert resting.is_closed()


def test_who_waits_to_send_its_body_need_not(full: Full) -> None:
    asking = full.client()
    asking.send(BEGUN.replace(b"host", b"expect: 100-continue\r\nhost"))
    assert asking.answer()[0] == 503


def test_what_would_never_be_read_is_told_so(full: Full) -> None:
    asking = full.client()
    asking.send(BEGUN.replace(b"content-length: %d" % len(ASKED), b"content-length: 17000000"))
    assert asking.answer()[0] == 413


def test_other_paths_are_answered(full: Full) -> None:
    assert full.other.status(BEGUN.replace(b"/v1/predict", b"/nowhere") + ASKED) == 404
    assert full.other.status(BEGUN.replace(b"POST /v1/predict", b"GET /v1/model") + ASKED) == 200


def test_who_asks_first_is_told_to_send_its_body(address: str) -> None:
    asking = Client(address)
    asking.send(BEGUN.replace(b"host", b"expect: 100-continue\r\nhost"))
    assert asking.line() == b"HTTP/1.1 100 Continue\r\n"
    assert asking.line() == b"\r\n"
    assert asking.status(ASKED) == 200
    asking.close()


def test_an_answer_without_a_body_is_sent_at_once(address: str) -> None:
    asking = Client(address)
    asking.send(b"HEAD /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    assert asking.line() == b"HTTP/1.1 200 OK\r\n"
    while asking.line() != b"\r\n":
        pass
    assert asking.status(WHOLE) == 200
    asking.close()


@pytest.mark.parametrize("head", [BEGUN, BEGUN.replace(b"/v1/predict", b"//"), BEGUN.replace(b"/v1/predict", b"/no")])
def test_a_place_is_given_back_by_who_leaves_or_talks_nonsense(address: str, head: bytes) -> None:
    for _ in range(3):
        left = Client(address)
        left.send(head)
        left.close()
    broken = Client(address)
    broken.send(BEGUN.replace(b"content-length: ", b"content-length: x"))
    assert broken.answer()[0] == 400
    broken.close()
    with ExitStack() as stack:
        full = Full(address, stack)
        assert full.holder.status(ASKED) == 200
        assert full.told("at_once") == 0
