"""Compare two bundles."""

from pathlib import Path
from typing import Any

from tandem.bundle import Bundle
from tandem.run import operation
from tasks.diff import compared


@operation
def diff(a: Path, b: Path) -> dict[str, Any]:
    """Check both and say what differs."""
    return compared(Bundle.open(a), Bundle.open(b))
