"""How far serving has come after the registry: what sync wrote last, for the metrics."""

from datetime import datetime
from pathlib import Path

import msgspec

SYNCED = "sync.json"


class Synced(msgspec.Struct, frozen=True):
    """The last look at the registry."""

    generation: int
    """What is served."""
    wanted: int
    """What the registry asks for; the same, unless something was refused."""
    at: datetime
    """By the wall."""
    refused: int = 0
    """How often a bundle was, each counted once for each reason."""
    reason: str = ""
    """Why what is wanted is not served; empty if it is."""

    @classmethod
    def load(cls, folder: Path) -> "Synced | None":
        """Read it; None if there never was a look, or nothing that can be read."""
        try:
            return msgspec.json.decode((folder / SYNCED).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None
