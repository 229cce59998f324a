"""What a worker remembers: each prediction and each label, in its own segments, before it is answered.

A prediction's id is the place of its record, so any replica finds it without an index: the writer, its segment, and
the first byte of the line.
"""

import logging
import re
import secrets
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tandem import ledger
from tandem.compacted import PARQUET, Receipt
from tandem.errors import LedgerError
from tandem.ledger import Segment

log = logging.getLogger(__name__)

SEGMENT = 64 * 1024 * 1024
"""Bytes after which a segment is closed; one group more may stand in it."""
WRITER, NUMBER = re.compile(r"\A[0-9a-f]{8}\Z"), re.compile(r"\A[0-9a-f]{4}\Z")
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


class Shadow(msgspec.Struct, tag_field="kind", tag="shadow"):
    """What a bundle would have answered, had it been asked."""

    world: datetime
    wall: datetime
    problem: str
    prediction: str
    """The answer that was given in its place."""
    bundle: str
    features: bytes | None = None
    score: float | None = None
    """None: it failed."""
    error: str | None = None
    microseconds: float = 0.0


KINDS: Mapping[str, type[msgspec.Struct]] = {"predictions": Prediction, "labels": Label, "shadows": Shadow}
"""What a segment holds, by the name that its rows have as a table."""


class Records:
    """One writer's segments."""

    def __init__(self, folder: Path, largest: int = SEGMENT, *, synced: bool = False) -> None:
        """Write nothing yet: a server that answers nobody leaves no segment; where it is synced a full one is too."""
        self.folder, self.writer = folder, secrets.token_hex(4)
        self._largest, self._number, self._synced = largest, -1, synced
        self._segment: Segment | None = None
        self._full = deque[Segment]()

    def append(self, rows: Sequence[Any]) -> list[str]:
        """Write rows, and give their ids.

        Raises:
            LedgerError: they cannot be written; none of them was.

        """
        segment = self._segment
        if segment is None or segment.end >= self._largest or segment.torn:
            segment = self._next()
        prefix = f"{self.writer}-{self._number:04x}-"
        return [f"{prefix}{place:08x}" for place in segment.extend(rows)]

    def _next(self) -> Segment:
        opened = Segment(self.folder / self.writer / f"{self._number + 1:04x}", durable=False)
        if self._segment:
            self._full.append(self._segment)
        if not self._synced:
            self._close_full()
        self._segment, self._number = opened, self._number + 1
        return opened

    def sync(self) -> None:
        """Let what was written survive a loss of power; in a thread of its own, and one at a time."""
        current = self._segment  # first of all: what is full by the time it was looked at is in the queue
        for segment in tuple(self._full):
            segment.sync()
        if current:
            current.sync()
        while self._full and self._full[0] is not current:
            self._full.popleft().close()

    def look(self) -> None:
        """Begin another segment where somebody took away or cut the one that is written: nobody would find its rows."""
        segment = self._segment
        if segment and not segment.torn and not segment.is_there():
            log.warning("%s was taken away or cut: what was answered since it began may be lost", segment.path)
            segment.torn = True

    def abandon(self) -> None:
        """Write nothing after what may have been lost: what comes next begins a segment."""
        if self._segment:
            self._segment.torn = True

    def _close_full(self) -> None:
        while self._full:
            self._full.popleft().close()

    def close(self) -> None:
        """Let go of the segments; they are closed for good."""
        self._close_full()
        if self._segment:
            self._segment.close()
            self._segment = None


def segments(folder: Path) -> list[Path]:
    """List the segments of all writers; a writer's last one is its newest."""
    writers = sorted(each for each in folder.iterdir() if WRITER.match(each.name)) if folder.is_dir() else []
    return [path for writer in writers for path in sorted(writer.iterdir()) if NUMBER.match(path.name)]


def recover(folder: Path) -> list[Path]:
    """Cut off what killed writers left half-written, which was never acknowledged; name the segments."""
    found = []
    for path in segments(folder):
        try:
            if ledger.recover(path):
                found.append(path)
        except (LedgerError, OSError) as exc:  # another worker is at it, or it is gone by now
            log.warning("not recovered: %s", exc)
    return found


def find(folder: Path, name: str) -> dict[str, Any] | None:
    """Find a record by its id, whoever wrote it, and though it was compacted since.

    Raises:
        LedgerError: it is damaged.

    """
    named = ID.match(name)
    if not named:
        return None
    row = ledger.row_at(folder / named[1] / named[2], int(named[3], 16))
    if row is None and (receipt := Receipt.of(folder, f"{named[1]}/{named[2]}")):
        row = _compacted(folder, receipt, name)
    return {"id": name, **row} if row else None


def _compacted(folder: Path, receipt: Receipt, name: str) -> dict[str, Any] | None:
    """Read a record out of Parquet, as its segment held it."""
    try:
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - for who asks for what is old: 0.2 s and 45 MiB
    except ModuleNotFoundError as exc:
        msg = f"{name} is Parquet by now, which is not read here without pyarrow: `tandem log` finds it"
        raise LedgerError(msg) from exc
    for path in receipt.files:
        try:
            with ParquetFile(folder / PARQUET / path) as file:  # a data set, or a filter, would load pandas
                for group in range(file.num_row_groups):
                    names = file.read_row_group(group, columns=["id"]).column(0).to_pylist()
                    if name in names:
                        (row,) = file.read_row_group(group).slice(names.index(name), 1).to_pylist()
                        return _row_of(KINDS[path.partition("/")[0]], row)
        except (OSError, ValueError) as exc:
            msg = f"{folder / PARQUET / path} is damaged: {exc}"
            raise LedgerError(msg) from exc
    return None


def _row_of(kind: type[msgspec.Struct], columns: dict[str, Any]) -> dict[str, Any]:
    """Turn the columns of a table into what was written."""
    given = {field.name: columns[field.name] for field in msgspec.structs.fields(kind)}
    given["wall"] = given["wall"].replace(tzinfo=UTC)
    for name in ("request", "keys"):
        if given.get(name) is not None:
            given[name] = msgspec.Raw(given[name].encode())
    if given.get("features") is not None:
        given["features"] = array("f", given["features"]).tobytes()
    row: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(kind(**given)))
    return row
