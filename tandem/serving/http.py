"""HTTP as the faces see it: a call comes in, an answer goes out; what is refused is told by RFC 9457."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import nullcontext
from datetime import datetime
from functools import cached_property
from time import monotonic
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from tandem.serving.refused import Fault, Header, Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON: Header = (b"content-type", b"application/json")
JSON_KIND = "application/json"
TEXT: Header = (b"content-type", b"text/plain; charset=utf-8")
HTML: Header = (b"content-type", b"text/html; charset=utf-8")
CLOSE: Header = (b"connection", b"close")
FORM = "application/x-www-form-urlencoded"
"""What curl calls a body of which nobody says what it is: it is taken for JSON."""

AT_ONCE = nullcontext()

encode = msgspec.json.Encoder().encode


class Reply(NamedTuple):
    """What a client gets."""

    body: bytes
    kind: Header = JSON
    status: int = 200
    headers: tuple[Header, ...] = ()


class Call:
    """One request of a client."""

    def __init__(self, scope: Message, body: Receive | bytes) -> None:
        """Read no body yet, unless it is there."""
        self.scope, self._body = scope, body
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.parts: Mapping[str, str] = {}
        """The variable parts of the path."""

    @cached_property
    def kind(self) -> str:
        """The type of the body, without its parameters; empty if none is named."""
        return self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters after the question mark."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1")))

    @cached_property
    def request_id(self) -> str | None:
        """The name that the client gave its request, or that of its trace."""
        given = self.headers.get(b"x-request-id") or self.headers.get(b"traceparent")
        return given[:128].decode("latin-1") if given else None

    def moment(self, name: str) -> datetime | None:
        """Read a moment after the question mark.

        Raises:
            Refused: it is none.

        """
        given = self.query.get(name)
        try:
            return msgspec.convert(given, datetime | None)
        except msgspec.ValidationError as exc:
            raise Refused.of(Fault(f"?{name}", "a moment, by RFC 3339", str(given)[:60])) from exc

    def prefers(self, kind: str, own: str) -> bool:
        """Say whether the client wants a type: it says so, or its own body is of it and it does not ask for JSON."""
        accept = self.headers.get(b"accept", b"").lower()
        return kind.encode() in accept or (own == kind and JSON_KIND.encode() not in accept)

    def must_be(self, *kinds: str) -> str:
        """Check the type of the body.

        Raises:
            Refused: it is another one, or packed.

        """
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refused(415, "send the body as it is, not compressed", (b"accept-encoding", b"identity"))
        kind = self.kind
        if kind and kind not in kinds:
            msg = f"{self.scope['path']} takes {' or '.join(kinds)}, not {kind[:80]}"
            raise Refused(415, msg, (b"accept", ", ".join(kinds).encode()))
        return kind or kinds[0]

    def announced(self, largest: int) -> int:
        """Give the bytes that the body is said to have, 0 if nothing is said.

        Raises:
            Refused: they are too many.

        """
        size = announced(self.scope["headers"])
        if size > largest:
            raise _too_long(largest)
        return size

    def _is_coming(self) -> bool:
        """Tell whether some of the body may have to be waited for; uvicorn's request knows."""
        return getattr(getattr(self._body, "__self__", None), "more_body", True)

    async def body(self, largest: int, patience: "Patience", came: "Callable[[Call, int], None]") -> bytes:
        """Read the body, and tell how much of it has come.

        Raises:
            Refused: it is too long, too slow, or the client has left.

        """
        if isinstance(self._body, bytes):
            return self._body
        self.announced(largest)
        with patience if self._is_coming() else AT_ONCE:
            parts, size = [], 0
            while (message := await self._body())["type"] == "http.request":
                part = message.get("body", b"")
                size += len(part)
                if size > largest:
                    raise _too_long(largest)
                came(self, size)
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts) if len(parts) > 1 else part
        raise Refused(400, "the client left before its body was whole")


Handler = Callable[[Call], Awaitable[Reply]]
Scope = Literal["health", "read", "predict", "records", "metrics"]
"""What a key must be for; health is everybody's."""


class Route(NamedTuple):
    """A method and a path, who answers them, what metrics call it, and what a key must be for."""

    method: str
    path: str
    """Its variable parts in braces."""
    answer: Handler
    name: str
    scope: Scope
    costly: bool = False
    """Whether it takes a place among those that are answered at a time."""
    plain: bool = False
    """Whether it waits for its body and the core alone, and so needs no task once the body is there."""


class Routes:
    """Finds the route of a method and a path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """Tell paths with variable parts from those without."""
        self._plain: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        for route in routes:
            if "{" in route.path:
                self._patterns.append((re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]{1,256})", route.path)), route))
            else:
                self._plain[route.method, route.path] = route

    def plain(self, method: str, path: str) -> Route | None:
        """Give the route of a path without variable parts."""
        return self._plain.get((method, path))

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """Give the route, and the variable parts of the path.

        Raises:
            Refused: there is none.

        """
        if route := self.plain(method, path):
            return route, {}
        methods = [m for m, p in self._plain if p == path]
        for pattern, route in self._patterns:
            if found := pattern.fullmatch(path):
                if route.method == method:
                    return route, found.groupdict()
                methods.append(route.method)
        if methods:
            allowed = ", ".join(sorted(methods))
            raise Refused(405, f"{path[:200]} takes {allowed}, not {method}", (b"allow", allowed.encode()))
        raise Refused(404, f"there is no {path[:200]}")


def announced(headers: Iterable[Header]) -> int:
    """Give the bytes that a head says its body has, 0 if it says nothing."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_long(largest: int) -> Refused:
    return Refused(413, f"a body of more than {largest} bytes is not read", CLOSE)


class Patience:
    """Ends the reading of bodies that do not come: one look a second at all of them, as a timer for each costs more."""

    def __init__(self, seconds: float) -> None:
        """Wait for so long."""
        self.seconds = seconds
        self._waiting: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()

    def look(self) -> None:
        """Cancel what waits for too long."""
        now = monotonic()
        late = [task for task, since in self._waiting.items() if now - since > self.seconds]
        for task in late:
            self._late.add(task)
            task.cancel()

    def __enter__(self) -> None:
        """Begin to wait."""
        self._waiting[_task()] = monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait no longer; being cancelled for it is told to the client."""
        task = _task()
        del self._waiting[task]
        if task in self._late:
            self._late.remove(task)
            if kind is asyncio.CancelledError:
                task.uncancel()
                raise Refused(408, f"the body did not come within {self.seconds:g} s", CLOSE)


def _task() -> "asyncio.Task[object]":
    task = asyncio.current_task()
    if task is None:
        msg = "bodies are read inside of a task"
        raise RuntimeError(msg)
    return task
