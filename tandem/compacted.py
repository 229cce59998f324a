"""What became of a closed segment: Parquet by day, and a receipt that says so.

A receipt is written last. Until it is there the segment counts; from then on the files that it names do: so whoever
reads finds each row once, whenever a compaction was killed.
"""

from datetime import UTC, datetime
from pathlib import Path

import msgspec

PARQUET = "parquet"


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
    def of(cls, ledger: Path, segment: str) -> "Receipt | None":
        """Read the receipt of a segment; None: it was not compacted."""
        try:
            return msgspec.json.decode(cls.path_of(ledger, segment).read_bytes(), type=cls)
        except FileNotFoundError:
            return None

    def since(self, ledger: Path) -> datetime:
        """Tell the wall's time at which it was written."""
        return datetime.fromtimestamp(self.path_of(ledger, self.segment).stat().st_mtime, UTC).replace(tzinfo=None)

    @classmethod
    def all(cls, ledger: Path) -> "list[Receipt]":
        """Read all receipts."""
        paths = sorted((ledger / PARQUET).glob("*.json"))
        return [msgspec.json.decode(path.read_bytes(), type=cls) for path in paths]
