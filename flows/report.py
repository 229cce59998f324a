"""Write a bundle's card with plots, as a page for a browser."""

from pathlib import Path

from tandem.bundle import Bundle
from tandem.files import write_text
from tandem.run import operation
from tasks.report import page


@operation
def report(bundle: Bundle, target: Path) -> Path:
    """Write the page in one step."""
    return write_text(target, page(bundle))
