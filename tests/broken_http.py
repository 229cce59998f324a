"""Broken requests, byte by byte, against a server: what it answers, whether it lets go, and what it keeps.

python tests/broken_http.py http://127.0.0.1:8080 20000 [process]
"""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

import httpx
from kept import Kept
from whole import Requests, end_of_json

STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
HANG = 20.0
"""Seconds after which a server should have let go of whatever was sent."""
BRIEF = 0.3
"""Seconds that most cases wait for an answer that may never be due, as the request is not whole."""
AT_ONCE = 16


@dataclass
class Outcome:
    """What came of many cases."""

    statuses: Counter[int] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    """Each case that was answered by a 5xx, or never let go of."""


def _noise(random: Random, most: int) -> bytes:
    return random.randbytes(random.randint(1, most))


def damaged(random: Random, data: bytes) -> bytes:
    """Flip, cut, repeat or insert some bytes."""
    made = bytearray(data)
    for _ in range(random.randint(1, 6)):
        place = random.randrange(len(made) + 1)
        length = random.randint(1, 12)
        match random.randrange(4):
            case 0 if place < len(made):
                made[place] ^= 1 << random.randrange(8)
            case 1:
                del made[place : place + length]
            case 2:
                made[place:place] = made[place : place + length] * random.randint(1, 4)
            case _:
                made[place:place] = random.choice([b"\r\n", b"\0", b"\xff", b"{", b"[", b'"', _noise(random, length)])
    return bytes(made)


def request_line(requests: Requests, random: Random) -> bytes:
    line = damaged(random, requests.head(random).partition(b"\r\n")[0])
    odd = [b"GET * HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"GET http:// HTTP/1.1", b"GET /%ff%00%2e%2e HTTP/1.1", line]
    odd += [b"PRI * HTTP/2.0", b"GET /" + b"a" * random.randint(1, 200_000) + b" HTTP/1.1", b"GET / HTTP/9.9", line]
    return random.choice(odd) + b"\r\nhost: x\r\nconnection: close\r\n\r\n"


def headers(requests: Requests, random: Random) -> bytes:
    lines = [b"x: " + _noise(random, 40), b"connection: upgrade\r\nupgrade: websocket", b"expect: 100-continue", b": x"]
    lines += [b"accept: " + _noise(random, 20), b"content-encoding: gzip", b"x-request-id: " + _noise(random, 300)]
    lines += [b"inference-header-content-length: " + random.choice([b"-1", b"9" * 30, b"x"]), b" folded: x", b"a\0b: c"]
    lines += [b"authorization: Bearer " + _noise(random, 20), b"traceparent: " + _noise(random, 60)]
    head, _, body = requests.whole(random).partition(b"\r\n\r\n")
    return b"\r\n".join([head, *random.sample(lines, 3), b"connection: close"]) + b"\r\n\r\n" + body


def lengths(requests: Requests, random: Random) -> bytes:
    odd = ["-1", "+5", "0x10", "5,5", "5 5", "", "9" * 19, "9" * 30, "9" * 5000, "17000000", "1", "0", "1e3", "\u0661"]
    more = [f"content-length: {random.choice(odd)}"]
    if random.random() < 0.3:
        more.append("transfer-encoding: " + random.choice(["chunked", "gzip", "chunked, chunked", "identity", "x"]))
    return requests.whole(random, None, *more).replace(b"content-length", b"x", random.randint(0, 1))


def chunks(requests: Requests, random: Random) -> bytes:
    path, kind, body = random.choice(requests.bodies)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    said = b"%x" % len(body)
    odd = [said + b";x=y", b"-1", b"g", b"ffffffffffffffffff", b"%x" % (len(body) + 9), said + b" ", b"", b"0" + said]
    end = random.choice(
        [b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"0\r\n" + b"x: " + b"y" * 100_000, b"0\r\n", b"", b"\r\n"]
    )
    return head + random.choice([said, said, *odd]) + b"\r\n" + body + b"\r\n" + end


def pipelined(requests: Requests, random: Random) -> bytes:
    several = [requests.head(random) + b"\r\n" for _ in range(random.choice([2, 5, 30, 300]))]
    several += [requests.whole(random) for _ in range(random.randint(0, 3))]
    random.shuffle(several)
    several.append(random.choice([requests.head(random) + b"connection: close\r\n\r\n", _noise(random, 50)]))
    return b"".join(several)


def cut(requests: Requests, random: Random) -> bytes:
    whole = requests.whole(random)
    return whole[: random.randrange(len(whole))]


def huge(requests: Requests, random: Random) -> bytes:
    line = random.choice(
        [b"x: " + b"y" * 300_000, b"x: y\r\n" * 30_000, b"y" * 300_000, b"cookie: " + b"a=b;" * 50_000]
    )
    return requests.head(random) + line + random.choice([b"", b"\r\n\r\n"])


def bytes_of_any_kind(requests: Requests, random: Random) -> bytes:
    return random.choice(
        [_noise(random, 2000), damaged(random, requests.whole(random)), b"\r\n" * 50_000, b"\x16\x03\1"]
    )


def bodies(requests: Requests, random: Random) -> bytes:
    """A whole request whose body alone is damaged."""
    path, kind, own = random.choice(requests.bodies)
    body = damaged(random, own)
    deep = random.choice([b"[", b'{"a":', b'{"instances":[', b'{"inputs":[{"data":['])
    body = random.choice([body, body, body, body, _noise(random, 500), deep * random.choice([10, 1000, 100_000])])
    lines = [f"POST {path} HTTP/1.1", "host: x", "connection: close", f"content-type: {kind}"]
    lines.append(f"content-length: {len(body)}")
    if kind.endswith("octet-stream"):
        end = end_of_json(own)
        lines.append(f"inference-header-content-length: {max(0, end + random.choice([0, 0, 0, -1, 1, 10**6]))}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


KINDS: list[Callable[[Requests, Random], bytes]] = [
    request_line,
    headers,
    lengths,
    chunks,
    pipelined,
    cut,
    huge,
    bytes_of_any_kind,
    bodies,
    bodies,
]


async def endless(data: bytes, random: Random) -> AsyncIterator[bytes]:
    """Send headers, or a body, without an end and slowly."""
    yield data
    line = random.choice([b"x: y\r\n", b"\r\n", b" ", b"1\r\n \r\n"])
    for _ in range(int(HANG * 10)):
        await asyncio.sleep(0.1)
        yield line


async def _case(address: str, requests: Requests, random: Random, outcome: Outcome) -> None:
    kind = random.choice(KINDS)
    data, slow = kind(requests, random), random.random() < 0.005
    if slow:
        data = random.choice([cut(requests, random), chunks(requests, random), requests.head(random), b"", b"GET"])
    where = urlsplit(address)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    said = b""
    try:
        if slow:
            with suppress(ConnectionError):
                async for part in endless(data, random):
                    writer.write(part)
                    await writer.drain()
                    if reader.at_eof():
                        break
            limit = 2.0
        else:
            parts = random.choice([1, 1, 1, 3])
            size = len(data) // parts + 1
            with suppress(ConnectionError):
                for start in range(0, len(data), size):
                    writer.write(data[start : start + size])
                    await writer.drain()
                    await asyncio.sleep(0)
            limit = HANG if random.random() < 0.02 else BRIEF
        said, ended = await _answers(reader, limit)
    finally:
        writer.transport.abort()
    statuses = [int(status) for status in STATUS.findall(said)]
    outcome.statuses.update(statuses)
    if any(status >= 500 for status in statuses):
        outcome.failed.append(f"{kind.__name__}: {[s for s in statuses if s >= 500]} to {data[:3000]!r}")
    if not ended and (slow or limit == HANG):
        outcome.failed.append(f"{kind.__name__}: held after {limit} s: {data[:300]!r}")


async def _answers(reader: asyncio.StreamReader, limit: float) -> tuple[bytes, bool]:
    """Read until the server lets go, or for a while."""
    said = b""
    try:
        async with asyncio.timeout(limit):
            while part := await reader.read(65536):
                said += part
    except TimeoutError:
        return said, False
    except ConnectionError:
        pass
    return said, True


async def ask(address: str, cases: int, seed: int = 0) -> Outcome:
    """Send so many broken requests, some at a time, and see that the server is well after them."""
    requests, outcome, room = Requests(address), Outcome(), asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            await _case(address, requests, Random(f"{seed} {number}"), outcome)  # noqa: S311

    async with asyncio.TaskGroup() as group:
        for number in range(cases):
            group.create_task(one(number))
    path, kind, body = requests.bodies[0]
    async with httpx.AsyncClient(base_url=address) as client:
        told = await client.post(path, content=body, headers={"content-type": kind})
    if told.status_code != 200:
        outcome.failed.append(f"afterwards a good request was answered {told.status_code}")
    return outcome


def main() -> int:
    """Ask a server that runs, and say what came of it; with its process also what that keeps."""
    address, cases, *process = sys.argv[1:]
    kept = [Kept(address, int(each)) for each in process]
    outcome = asyncio.run(ask(address, int(cases)))
    sys.stdout.write(f"{cases} cases, answered {dict(sorted(outcome.statuses.items()))}\n")
    sys.stdout.writelines(f"{said}\n" for said in [*kept, *outcome.failed])
    return bool(outcome.failed) or any(each.is_too_much() for each in kept)


if __name__ == "__main__":
    sys.exit(main())
