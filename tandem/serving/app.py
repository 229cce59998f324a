"""The ASGI application: `/readyz`, `/livez` and `POST /v1/predict`."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

import msgspec

from tandem.serving.model import Model

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
JSON: tuple[Header, ...] = ((b"content-type", b"application/json"),)
PROBLEM: Header = (b"content-type", b"application/problem+json")
LARGEST = 16 * 1024 * 1024


class Refused(Exception):  # noqa: N818 - an answer, not an error of ours
    """A request that cannot be answered, by RFC 9457."""

    def __init__(self, status: int, title: str, detail: str, *headers: Header) -> None:
        """Keep what the client is told."""
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers


class App:
    """One model behind HTTP."""

    def __init__(self, model: Model) -> None:
        """Answer with this model."""
        self._model = model
        self._routes = {
            ("GET", "/livez"): self._live,
            ("GET", "/readyz"): self._ready,
            ("POST", "/v1/predict"): self._predict,
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one HTTP request; what is refused says why."""
        if scope["type"] != "http":
            return
        try:
            status, headers, answer = 200, JSON, await self._answer(scope, receive)
        except Refused as exc:
            status, headers = exc.status, (PROBLEM, *exc.headers)
            answer = {"title": exc.title, "status": exc.status, "detail": exc.detail}
        body = msgspec.json.encode(answer)
        headers = (*headers, (b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Receive) -> object:
        method, path = scope["method"], scope["path"]
        if (method, path) in self._routes:
            return self._routes[method, path](await _body(receive))
        if allowed := ", ".join(m for m, p in self._routes if p == path):
            told = f"{path} takes {allowed}, not {method}"
            raise Refused(405, "Method Not Allowed", told, (b"allow", allowed.encode()))
        raise Refused(404, "Not Found", f"there is no {path}")

    def _live(self, _: bytes) -> object:
        return {"live": True}

    def _ready(self, _: bytes) -> object:
        return {"ready": True, "bundle": self._model.digest, "tick": self._model.tick}

    def _predict(self, body: bytes) -> object:
        try:
            requests = self._model.decode(body)
        except msgspec.ValidationError as exc:
            raise Refused(422, "Unprocessable Content", str(exc)) from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise Refused(400, "Bad Request", f"the body is not JSON: {exc}") from exc
        try:
            scores = self._model.scores(requests)
        except ArithmeticError as exc:
            raise Refused(422, "Unprocessable Content", f"a value is out of reach of the features: {exc}") from exc
        threshold, (otherwise, act) = self._model.threshold, self._model.actions
        return {
            "predictions": [
                {"id": uuid4().hex, "score": score, "action": act if score >= threshold else otherwise}
                for score in scores
            ],
            "threshold": threshold,
            "bundle": self._model.digest,
            "tick": self._model.tick,
        }


async def _body(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > LARGEST:
            raise Refused(413, "Content Too Large", f"a body of more than {LARGEST} bytes is not read")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)
