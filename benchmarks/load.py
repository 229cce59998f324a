"""A load for HTTP servers: connections that each ask again as soon as they were answered, or at a given rate.

Example: python benchmarks/load.py http://127.0.0.1:8080/v1/predict body.json --connections 8 --seconds 5
"""

import argparse
import asyncio
import json
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import uvloop


class Asking(asyncio.Protocol):
    """One connection that has one question at a time."""

    def __init__(self, load: "Load") -> None:
        """Belong to a load."""
        self._load, self._left, self._head = load, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        self._began = perf_counter()
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
            self._load.answered(self._status, perf_counter() - self._began)
            if not self._load.over:
                self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        """Count it, if it was not the end."""
        if not self._load.over:
            self._load.lost += 1


class Load:
    """What was asked, and what came back."""

    def __init__(self, question: bytes) -> None:
        """Begin with nothing."""
        self.question, self.over, self.lost = question, False, 0
        self.statuses: dict[int, int] = {}
        self.seconds: list[float] = []

    def answered(self, status: int, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.seconds.append(seconds)


def question(url: str, body: bytes, kind: str = "application/json", headers: str = "") -> bytes:
    """Write a request."""
    parts = urlsplit(url)
    head = f"{'POST' if body else 'GET'} {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{headers}"
    return f"{head}content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def ask(url: str, asked: bytes, connections: int, seconds: float) -> dict[str, Any]:
    """Ask for some seconds, after one that is not counted."""
    loop, parts = asyncio.get_running_loop(), urlsplit(url)
    load = Load(asked)
    for _ in range(connections):
        await loop.create_connection(lambda: Asking(load), parts.hostname or "", parts.port or 80)
    await asyncio.sleep(1)
    load.statuses, load.seconds, start = {}, [], perf_counter()
    await asyncio.sleep(seconds)
    took, load.over = perf_counter() - start, True
    ordered = sorted(load.seconds)

    def quantile(share: float) -> float:
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e6 if ordered else float("nan")

    return {
        "rate": len(ordered) / took,
        "p50_us": quantile(0.5),
        "p99_us": quantile(0.99),
        "statuses": load.statuses,
        "lost": load.lost,
    }


def main() -> None:
    """Read the command line, ask, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path, nargs="?")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--kind", default="application/json")
    given = parser.parse_args()
    asked = question(given.url, given.body.read_bytes() if given.body else b"", given.kind)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(ask(given.url, asked, given.connections, given.seconds))))


if __name__ == "__main__":
    main()
