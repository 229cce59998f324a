"""A load for HTTP servers: connections that each ask again as soon as they were answered, or at a given rate.

Example: python benchmarks/load.py http://127.0.0.1:8080/v1/predict body.json --connections 8 --seconds 5
"""

import argparse
import asyncio
import json
from collections import deque
from pathlib import Path
from random import uniform
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import uvloop

OK = 200


class Asking(asyncio.Protocol):
    """One connection that has one question at a time."""

    def __init__(self, load: "Load") -> None:
        """Belong to a load."""
        self._load, self._left, self._head = load, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait to be told to ask."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._load.idle.append(self)

    def ask(self, since: float) -> None:
        """Ask what should have been asked by then."""
        self._since = since
        self._transport.write(self._load.question)

    def data_received(self, data: bytes) -> None:
        """Count an answer once it is whole, and ask again."""
        if not self._left:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            self._status = int(head[9:12])
            lower = head.lower()
            start = lower.index(b"content-length:") + 15
            self._left = int(lower[start:].split(b"\r\n", 1)[0])
            self._head, data = b"", rest
        self._left -= len(data)
        if self._left <= 0:
            self._left = 0
            self._load.answered(self, self._status, perf_counter() - self._since)

    def connection_lost(self, _: Exception | None) -> None:
        """Count it, if it was not the end."""
        if not self._load.over:
            self._load.lost += 1


class Load:
    """What was asked, and what came back."""

    def __init__(self, question: bytes, *, paced: bool = False) -> None:
        """Begin with nothing; each connection asks again at once unless the pace is set from outside."""
        self.question, self.over, self.lost, self.unasked = question, False, 0, 0
        self.idle: deque[Asking] = deque()
        self._paced = paced
        self.forget()

    def forget(self) -> None:
        """Count anew."""
        self.statuses: dict[int, int] = {}
        self.seconds: list[float] = []
        """Of answers, not of what was refused."""

    def answered(self, one: Asking, status: int, seconds: float) -> None:
        """Count an answer; who is sent away comes again after about the second that it was told to wait."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status == OK:
            self.seconds.append(seconds)
        if self.over:
            return
        if self._paced:
            self.idle.append(one)
        elif status == OK:
            one.ask(perf_counter())
        else:
            asyncio.get_running_loop().call_later(uniform(0.5, 1.5), self._again, one)  # noqa: S311 - no secret

    def _again(self, one: Asking) -> None:
        if not self.over:
            one.ask(perf_counter())

    def begin(self) -> None:
        """Let all ask that wait to."""
        while self.idle:
            self.idle.popleft().ask(perf_counter())

    async def pace(self, rate: float, seconds: float) -> None:
        """Ask so often whatever is answered; late questions count from when they were due."""
        start, due = perf_counter(), 0
        while (since := perf_counter() - start) < seconds:
            while due < since * rate:
                if self.idle:
                    self.idle.popleft().ask(start + due / rate)
                else:
                    self.unasked += 1
                due += 1
            await asyncio.sleep(0.001)


def question(url: str, body: bytes, kind: str = "application/json", headers: str = "") -> bytes:
    """Write a request."""
    parts = urlsplit(url)
    head = f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{headers}"
    return f"{head}content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def ask(  # noqa: PLR0913 - what a load is
    url: str, asked: bytes, connections: int, seconds: float, *, rate: float | None = None, warm: float = 1.0
) -> dict[str, Any]:
    """Ask for some seconds after one that is not counted, at a rate or as fast as answers come."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    load = Load(asked, paced=rate is not None)
    for _ in range(connections):
        await loop.create_connection(lambda: Asking(load), parts.hostname or "", parts.port or 80)
    pacing = asyncio.create_task(load.pace(rate, warm + seconds)) if rate else None
    if pacing is None:
        load.begin()
    await asyncio.sleep(warm)
    load.forget()
    start = perf_counter()
    await asyncio.sleep(seconds)
    took, load.over = perf_counter() - start, True
    if pacing:
        pacing.cancel()
    ordered = sorted(load.seconds)

    def quantile(share: float) -> float:
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e6 if ordered else float("nan")

    return {
        "rate": len(ordered) / took,
        "p50_us": quantile(0.5),
        "p99_us": quantile(0.99),
        "statuses": load.statuses,
        "lost": load.lost,
        "unasked": load.unasked,
    }


def main() -> None:
    """Read the command line, ask, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path, nargs="?")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rate", type=float, help="questions a second, whatever is answered; else as answers come")
    parser.add_argument("--kind", default="application/json")
    given = parser.parse_args()
    asked = question(given.url, given.body.read_bytes() if given.body else b"", given.kind)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(ask(given.url, asked, given.connections, given.seconds, rate=given.rate))))


if __name__ == "__main__":
    main()
