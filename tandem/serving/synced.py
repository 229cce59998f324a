"""How far serving has come after the registry: what sync wrote last, for the metrics."""

from datetime import datetime
from pathlib import Path
from typing import Any

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

    def facts(self) -> dict[str, Any]:
        """Give it as JSON holds it."""
        facts: dict[str, Any] = msgspec.to_builtins(self)
        return facts

    @property
    def line(self) -> str:
        """Say it in a line."""
        if self.reason:
            before = f"generation {self.generation} is served on" if self.generation else "nothing is served"
            return f"generation {self.wanted} is refused, {before}: {self.reason}"
        return f"generation {self.generation} is served" if self.generation else "nobody takes traffic yet"

    @classmethod
    def load(cls, folder: Path) -> "Synced | None":
        """Read it; None if there never was a look, or nothing that can be read."""
        try:
            return msgspec.json.decode((folder / SYNCED).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError):
            return None
