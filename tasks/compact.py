"""Closed segments to Parquet by day: whole or not at all, and never twice."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec
import polars as pl

from tandem import ledger
from tandem.compacted import PARQUET, Receipt
from tandem.errors import LedgerError
from tandem.files import atomic, sha256_of
from tandem.history import frames_of
from tandem.ledger import START, is_living, sync_folder
from tandem.run import step
from tandem.serving.records import segments

GROUP = 4096
"""Rows that are read for one record."""
Lines = Sequence[tuple[int, ledger.Line]]


@dataclass
class Compacted:
    """What a compaction came to, by segment."""

    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """What is not what was written, each with the reason."""

    def check(self) -> "Compacted":
        """Give it, if nothing was refused.

        Raises:
            LedgerError: something was; all else was done.

        """
        if self.refused:
            raise LedgerError("\n".join([f"{len(self.made)} segments compacted, but:", *self.refused]))
        return self


def closed(folder: Path) -> list[Path]:
    """List the segments that nobody writes any more and that were not compacted."""

    def compacted(path: Path) -> bool:
        return Receipt.path_of(folder, f"{path.parent.name}/{path.name}").exists()

    return [path for path in segments(folder) if path.stat().st_size and not compacted(path) and not is_living(path)]


@step
def compact_closed(folder: Path, report: Compacted) -> None:
    """Make Parquet of all segments that are closed; one that is damaged is left as it is, and named."""
    for segment in closed(folder):
        try:
            report.made.append(compact_segment(folder, segment).segment)
        except LedgerError as exc:
            report.refused.append(str(exc))


def compact_segment(folder: Path, segment: Path) -> Receipt:
    """Write a segment's rows as Parquet, a file for each kind and day, and then the receipt from which on they count.

    Raises:
        LedgerError: the segment is not what was written; nothing is made of it.

    """
    name, lines = f"{segment.parent.name}/{segment.name}", ledger.lines(segment)
    files = {file: _write(folder / PARQUET / file, rows) for file, rows in _days(segment, lines)}
    receipt = Receipt(name, len(lines), lines[-1][1].chain if lines else START, files)
    path = Receipt.path_of(folder, name)
    with atomic(path) as temporary:
        temporary.write_bytes(msgspec.json.encode(receipt) + b"\n")
        _sync(temporary)
    sync_folder(path.parent)
    return receipt


def _days(segment: Path, lines: Lines) -> Iterator[tuple[str, pl.DataFrame]]:
    for kind, frame in frames_of(segment, lines).items():
        for (day,), rows in frame.group_by(pl.col("wall").dt.date(), maintain_order=True):
            yield f"{kind}/{day}/{segment.parent.name}-{segment.name}.parquet", rows


def _write(target: Path, rows: pl.DataFrame) -> str:
    with atomic(target) as temporary:
        rows.write_parquet(temporary, row_group_size=GROUP)
        _sync(temporary)
    for parent in (target.parent, target.parent.parent, target.parent.parent.parent):
        sync_folder(parent)
    return sha256_of(target)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@step
def drop_compacted(folder: Path, before: datetime, report: Compacted) -> None:
    """Delete the segments that were compacted before a moment, if their Parquet is whole, and what kills left over."""
    for left in (folder / PARQUET).rglob(".*.*.*"):
        if left.is_file():  # and no folder that a file server keeps there
            left.unlink()
    for receipt in Receipt.all(folder, report.refused):
        path = folder / receipt.segment
        old = receipt.since(folder) < before
        if not path.exists():
            continue
        if bad := receipt.lost(folder, surely=old):
            report.refused.append(bad)
        elif old:
            path.unlink()
            report.dropped.append(receipt.segment)
