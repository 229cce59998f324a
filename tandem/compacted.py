"""What became of a closed segment: Parquet by day, and a receipt that says so.

A receipt is written last. Until it is there the segment counts; from then on the files that it names do: so whoever
reads finds each row once, whenever a compaction was killed.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tandem.errors import LedgerError
from tandem.files import sha256_of

PARQUET = "parquet"
MAGIC = b"PAR1"


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was made of one segment."""

    segment: str
    """The writer and the number."""
    rows: int
    chain: str
    """Where the segment's chain ended."""
    files: dict[str, str]
    """Below the folder of all Parquet, the SHA-256 of each."""

    @classmethod
    def path_of(cls, ledger: Path, segment: str) -> Path:
        """Say where the receipt of a segment is."""
        return ledger / PARQUET / f"{segment.replace('/', '-')}.json"

    @classmethod
    def load(cls, path: Path) -> "Receipt":
        """Read one.

        Raises:
            LedgerError: it is damaged.

        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.DecodeError as exc:
            msg = f"{path} is no receipt: {exc}. Delete it: where its segment is still there, that is compacted anew"
            raise LedgerError(msg) from exc

    @classmethod
    def of(cls, ledger: Path, segment: str) -> "Receipt | None":
        """Read the receipt of a segment; None: it was not compacted."""
        try:
            return cls.load(cls.path_of(ledger, segment))
        except FileNotFoundError:
            return None

    def since(self, ledger: Path) -> datetime:
        """Tell the wall's time at which it was written."""
        return datetime.fromtimestamp(self.path_of(ledger, self.segment).stat().st_mtime, UTC).replace(tzinfo=None)

    @classmethod
    def all(cls, ledger: Path, damaged: list[str]) -> "Iterator[Receipt]":
        """Read all receipts that can be read, and say of the others why not."""
        for path in sorted((ledger / PARQUET).glob("*.json")):
            try:
                yield cls.load(path)
            except LedgerError as exc:
                damaged.append(str(exc))

    def lost(self, ledger: Path, *, surely: bool = False) -> str | None:
        """Say which file is not what was made, and how to mend it; None: each is.

        To digest many files would take long: it is done for those that somebody wrote to since, or to know surely.
        """
        made = self.path_of(ledger, self.segment).stat().st_mtime_ns
        for file, digest in self.files.items():
            path = ledger / PARQUET / file
            if not has_ends(path) or ((surely or path.stat().st_mtime_ns > made) and sha256_of(path) != digest):
                again = f"delete {self.path_of(ledger, self.segment)}, and it is made anew"
                there = again if (ledger / self.segment).is_file() else "and that is gone: bring it back from a backup"
                return f"{path}: it is not what was made of segment {self.segment}; {there}"
        return None


def has_ends(path: Path) -> bool:
    """Say whether a file is there and ends as Parquet does."""
    if not path.is_file() or path.stat().st_size < len(MAGIC):
        return False
    with path.open("rb") as file:
        file.seek(-len(MAGIC), os.SEEK_END)
        return file.read() == MAGIC
