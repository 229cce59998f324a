"""The least that a server can do: read a body, send the same bytes; what Python and the server cost alone."""

from collections.abc import Awaitable, Callable
from typing import Any

BODY = (
    b'{"predictions":[{"id":"00000000-0000-00000000","score":0.44316357374191284,"threshold":0.25,"action":"act",'
    b'"variant":"champion","bundle":"0000000000000000000000000000000000000000000000000000000000000000",'
    b'"tick":"2013-10-31T23:50:00+00:00","stale":false}]}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


async def app(_: object, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer as we would."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})
