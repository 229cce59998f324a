"""What a worker remembers: each prediction and each label, in its own segments, before it is answered.

A prediction's id is the place of its record, so any replica finds it without an index: the writer, its segment, and
the first byte of the line.
"""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tandem.ledger import Segment, row_at

SEGMENT = 64 * 1024 * 1024
"""Bytes after which a segment is closed; one group more may stand in it."""
ID = re.compile(r"\A([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{8})\Z")


class Prediction(msgspec.Struct, tag_field="kind", tag="prediction"):
    """An answer, and all that it follows from."""

    world: datetime
    """The request's moment."""
    wall: datetime
    problem: str
    request: msgspec.Raw
    features: bytes
    """The model's inputs, 32-bit floats."""
    score: float
    action: str
    variant: str
    bundle: str
    snapshot: str
    tick: datetime
    generation: int
    contract: str
    microseconds: float
    """What computing it took, its share of the group's."""
    stale: bool = False
    unknown: tuple[str, ...] = ()
    """Views in which its key was never seen."""
    request_id: str | None = None


class Label(msgspec.Struct, tag_field="kind", tag="label"):
    """What came true; the latest one said of a prediction holds."""

    world: datetime
    wall: datetime
    problem: str
    label: bool
    prediction: str | None = None
    keys: dict[str, Any] | None = None
    """The request's own, where no prediction is named."""
    known_at: datetime | None = None
    """When it could first be known, if whoever tells it says so."""
    request_id: str | None = None


class Records:
    """One writer's segments."""

    def __init__(self, folder: Path, largest: int = SEGMENT) -> None:
        """Write nothing yet: a server that answers nobody leaves no segment."""
        self.folder, self.writer = folder, secrets.token_hex(4)
        self._largest, self._number = largest, -1
        self._segment: Segment | None = None

    def append(self, rows: Sequence[Any]) -> list[str]:
        """Write rows, and give their ids.

        Raises:
            LedgerError: they cannot be written; none of them was.

        """
        segment = self._segment
        if segment is None or segment.end >= self._largest:
            segment = self._next()
        prefix = f"{self.writer}-{self._number:04x}-"
        return [f"{prefix}{place:08x}" for place in segment.extend(rows)]

    def _next(self) -> Segment:
        opened = Segment(self.folder / self.writer / f"{self._number + 1:04x}", durable=False)
        self.close()
        self._segment, self._number = opened, self._number + 1
        return opened

    def sync(self) -> None:
        """Let what was written survive a loss of power."""
        if self._segment:
            self._segment.sync()

    def close(self) -> None:
        """Let go of the segment; it is closed for good."""
        if self._segment:
            self._segment.close()
            self._segment = None


def find(folder: Path, name: str) -> dict[str, Any] | None:
    """Find a record by its id, whoever wrote it."""
    named = ID.match(name)
    row = row_at(folder / named[1] / named[2], int(named[3], 16)) if named else None
    return {"id": name, **row} if row else None
