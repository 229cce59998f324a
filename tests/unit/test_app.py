"""The application as a server sees it: messages in, messages out."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest
from tandem.serving.model import Model

from tandem.serving.app import LARGEST, App
from tandem.vectors import Values


class Turning:
    """A model that turns one number over."""

    digest, tick, threshold, actions = "digest", "2024-01-01T00:00:00+00:00", 0.5, ("none", "act")

    def decode(self, body: bytes) -> list[Values]:
        return [(value,) for value in msgspec.json.decode(body, type=list[int])]

    def scores(self, requests: Sequence[Values]) -> list[float]:
        return [1 / cast("float", value) for (value,) in requests]


APP = App(cast("Model", Turning()))


def ask(
    *parts: bytes, method: str = "POST", path: str = "/v1/predict", kind: str = "http"
) -> tuple[int, dict[str, Any], int]:
    """Send a body in parts: the status, the answer, and how many parts were read."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting.append({"type": "http.request"})
    sent: list[Any] = []

    async def receive() -> Any:  # noqa: ANN401 - ASGI's
        return waiting.pop(0)

    async def send(message: Any) -> None:  # noqa: ANN401
        sent.append(message)

    asyncio.run(APP({"type": kind, "method": method, "path": path}, receive, send))
    if not sent:
        return 0, {}, 0
    start, body = sent
    headers = dict(start["headers"])
    assert int(headers[b"content-length"]) == len(body["body"])
    assert headers[b"content-type"] == (b"application/json" if start["status"] == 200 else b"application/problem+json")
    return start["status"], json.loads(body["body"]), len(parts) + 1 - len(waiting)


def test_a_body_may_come_in_parts() -> None:
    status, said, _ = ask(b"[2", b", 4, ", b"", b"1]")
    assert status == 200
    assert [(p["score"], p["action"]) for p in said["predictions"]] == [(0.5, "act"), (0.25, "none"), (1.0, "act")]
    assert len({p["id"] for p in said["predictions"]}) == 3


def test_nothing_more_is_read_of_too_long_a_body() -> None:
    status, said, read = ask(b"[", b" " * LARGEST, b"1", b"]")
    assert (status, read) == (413, 2)
    assert said == {
        "title": "Content Too Large",
        "status": 413,
        "detail": f"a body of more than {LARGEST} bytes is not read",
    }


def test_what_is_no_json_and_what_is_not_as_agreed_are_told_apart() -> None:
    assert ask(b"[1")[0] == 400
    status, said, _ = ask(b'["one"]')
    assert (status, said["detail"]) == (422, "Expected `int`, got `str` - at `$[0]`")


def test_a_value_that_the_features_cannot_take_is_told() -> None:
    status, said, _ = ask(b"[0]")
    assert status == 422
    assert said["detail"] == "a value is out of reach of the features: division by zero"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/livez", 200), ("GET", "/readyz", 200), ("GET", "/", 404), ("PUT", "/v1/predict", 405)],
)
def test_each_path_has_its_method(method: str, path: str, status: int) -> None:
    told, said, _ = ask(method=method, path=path)
    assert told == status
    assert said.get("status", 200) == status


def test_what_is_not_http_is_left_alone() -> None:
    assert ask(kind="lifespan") == (0, {}, 0)
