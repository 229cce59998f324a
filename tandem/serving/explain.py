"""Why a score is what it is: asked of the platform's process, as serving has no XGBoost."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from tandem.asking import LENGTH, SOCKET, Explained, Question, framed
from tandem.serving.contract import AT
from tandem.serving.http import FORM, JSON_KIND, Call, Reply, Route, encode
from tandem.serving.refused import RETRY, Fault, Refused
from tandem.serving.service import Service

SECONDS = 10.0
"""How long the platform may take."""
MOST = 1_000
"""Instances of one request."""
TOP = 10

Top = Annotated[int, msgspec.Meta(ge=1)]


class Contribution(msgspec.Struct):
    """What one input adds to the margin."""

    feature: str
    value: float | None
    contribution: float
    meaning: str


class Explanation(msgspec.Struct):
    """A score, and what it is made of: `base` with all contributions and `others` is `margin`, whose logistic it is."""

    score: float
    margin: float
    base: float
    contributions: list[Contribution]
    others: float
    """What the inputs that are not named add together."""
    bundle: str
    tick: str


class Explain:
    """`POST /v1/explain`."""

    def __init__(self, service: Service, serving: Path) -> None:
        """Ask the platform through the socket beside what is served."""
        self._service = service
        self._socket = os.path.relpath(serving / SOCKET)  # the kernel takes 107 bytes at most

    def routes(self) -> list[Route]:
        """Name what it answers."""
        return [Route("POST", "/v1/explain", self.explain, "explain", "predict", costly=True)]

    async def explain(self, call: Call) -> Reply:
        """Say what the score of each instance is made of; nothing of it is recorded."""
        call.must_be(JSON_KIND, FORM)
        data = await self._service.body(call)
        body = self._service.contract.body(data, AT, ("top", Top, TOP))
        if len(body.instances) > MOST:
            raise Refused.of(Fault("$.instances", f"at most {MOST} instances to explain", str(len(body.instances))))
        rows = self._service.core.scored(body.instances, self._service.moment(body.at))
        variant = rows[0].variant
        said = await self._ask(Question(variant.digest, b"".join(row.made.data for row in rows), call.request_id))
        meanings = {feature.name: feature.meaning for feature in variant.spec.inputs}
        told = [
            Explanation(
                row.score,
                margin,
                each[-1],
                *_largest(each[:-1], np.frombuffer(row.made.data, dtype=np.float32).tolist(), meanings, body.top),
                variant.digest,
                row.ground.said,
            )
            for row, margin, each in zip(rows, said.margins, said.contributions, strict=True)
        ]
        return Reply(b'{"explanations":%b}' % encode(told))

    async def _ask(self, question: Question) -> Explained:
        """Ask the platform.

        Raises:
            Refused: there is none, or it cannot say.

        """
        try:
            async with asyncio.timeout(SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._socket)
                writer.write(framed(question))
                size = int.from_bytes(await reader.readexactly(LENGTH), "big")
                said = msgspec.msgpack.decode(await reader.readexactly(size), type=Explained)
                writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, msgspec.DecodeError) as exc:
            told = f"explanations come from the platform's process, and it does not answer: {exc or type(exc).__name__}"
            raise Refused(503, f"{told}. `tandem sync --watch` is it", RETRY) from exc
        if said.error:
            raise Refused(503, f"the platform cannot explain this: {said.error}", RETRY)
        return said


def _largest(
    contributions: Sequence[float], values: Sequence[float], meanings: dict[str, str], top: int
) -> tuple[list[Contribution], float]:
    """Name the inputs that add most, and sum up the rest."""
    named = sorted(zip(meanings.items(), values, contributions, strict=True), key=lambda each: -abs(each[2]))
    told = [
        Contribution(name, None if value != value else value, added, meaning)  # noqa: PLR0124 - NaN is no value
        for (name, meaning), value, added in named[:top]
    ]
    return told, sum(added for _, _, added in named[top:])
