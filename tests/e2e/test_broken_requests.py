"""Whatever is sent, by the thousand: no 5xx, no hang, no memory kept."""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import api_cases
import broken_http
import psutil
import pytest
from commands import served
from conftest import Workspace
from kept import Kept, worker_of

CASES = 2000
BROKEN = 500


@pytest.fixture(scope="module")
def server(built: Workspace) -> Iterator[tuple[str, int]]:
    with served(built.root) as (address, process):
        yield address, worker_of(process.pid)


@pytest.fixture(scope="module")
def kept(server: tuple[str, int]) -> Kept:
    return Kept(*server)


@pytest.fixture
def connection(server: tuple[str, int]) -> Iterator[socket.socket]:
    where = urlsplit(server[0])
    assert where.hostname
    assert where.port
    with socket.create_connection((where.hostname, where.port), timeout=20) as opened:
        yield opened


def answered(connection: socket.socket) -> bytes:
    """What comes until the server lets go."""
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


def test_broken_http_neither_breaks_nor_holds_it(server: tuple[str, int], kept: Kept) -> None:
    address, worker = server
    outcome = asyncio.run(broken_http.ask(address, BROKEN))
    assert outcome.failed == []
    assert {200, 400, 404, 405, 413, 422, 431} <= {*outcome.statuses}
    assert not kept.is_too_much(), str(kept)
    assert psutil.Process(worker).num_fds() < 100


@pytest.mark.filterwarnings("ignore::Warning")  # of those who make the cases
def test_requests_of_the_documents_forms_are_answered_as_it_says(server: tuple[str, int], kept: Kept) -> None:
    outcome = api_cases.ask(server[0], CASES)
    assert outcome.failed == []
    assert outcome.cases >= CASES
    assert all(status < 500 for _, status in outcome.statuses)
    assert {("positive", 200), ("negative", 422)} <= {*outcome.statuses}
    assert not kept.is_too_much(), str(kept)


def test_a_head_that_does_not_end_is_cut_by_size(connection: socket.socket) -> None:
    connection.sendall(b"GET /livez HTTP/1.1\r\nx: ")
    sent = 0
    with suppress(ConnectionError):
        while sent < 100_000_000:
            sent += connection.send(b"y" * 1000)
    assert sent < 100_000_000


def test_a_long_head_is_taken_up_to_a_limit(connection: socket.socket) -> None:
    connection.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 65_000 + b"\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("parts", [(66_000,), (65_000, 1_000), (1_000,) * 66, (60_000,) * 20])
def test_a_longer_head_is_told_so(connection: socket.socket, parts: tuple[int, ...]) -> None:
    connection.sendall(b"GET /livez HTTP/1.1\r\nx: ")
    for size in parts:
        connection.sendall(b"y" * size)
    connection.sendall(b"\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    said = answered(connection)
    assert said.startswith(b"HTTP/1.1 431 ")
    assert b"application/problem+json" in said


@pytest.mark.parametrize("sent", [b"GET /livez HTTP/1.1\r\nx: y", b"\r\n", b""])
def test_a_head_that_does_not_come_is_cut_by_time(connection: socket.socket, sent: bytes) -> None:
    start = time.monotonic()
    connection.sendall(sent)
    assert answered(connection)[:13] == (b"HTTP/1.1 408 " if b"GET" in sent else b"")
    assert 9 < time.monotonic() - start < 15


def test_a_body_that_does_not_come_is_told_so(connection: socket.socket) -> None:
    connection.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
    assert answered(connection).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_nobody_reads_is_cut_by_time(connection: socket.socket) -> None:
    connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
    assert answered(connection).startswith(b"HTTP/1.1 200 ")


def test_what_came_whole_is_answered_before_what_is_broken_ends_it(connection: socket.socket) -> None:
    body = b'{"instances": []}'
    whole = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    connection.sendall(whole * 3 + b"\0\1\2\r\n\r\n")
    said = answered(connection)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", said) == [b"422"] * 3 + [b"400"]


def test_an_upgrade_is_answered_as_if_it_were_not_asked_for(connection: socket.socket) -> None:
    asked = (
        b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    )
    connection.sendall(asked + b"sec-websocket-key: eA==\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
