"""Feature views: one SQL file each, addressed `entity.view`, true from `valid_from` until the key's next row."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec

from tandem.errors import ProblemError

VALID_FROM = "valid_from"
COLUMN = re.compile(r"\bas (\w+),?\s*-- (.+)$", re.MULTILINE)
GRAIN = re.compile(r"\A-- grain: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class View:
    """What a view's file says of itself."""

    name: str
    sql: str

    @classmethod
    def load_all(cls, folder: Path) -> tuple["View", ...]:
        """Read all views of a problem, by name.

        Raises:
            ProblemError: a file lacks its grain.

        """
        views = tuple(cls(name=path.stem, sql=path.read_text()) for path in sorted(folder.glob("*.sql")))
        for view in views:
            if not GRAIN.search(view.sql):
                msg = f"views/{view.name}.sql: the first line must state the grain: -- grain: one row per ..."
                raise ProblemError(msg)
        return views

    @cached_property
    def grain(self) -> str:
        """What one row is."""
        found = GRAIN.search(self.sql)
        return found.group(1) if found else ""

    @cached_property
    def meanings(self) -> dict[str, str]:
        """What each value means, from the comment beside it."""
        return {name: text.strip() for name, text in COLUMN.findall(self.sql)}


class ViewSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a view turned out to be once it was run."""

    name: str
    grain: str
    keys: tuple[str, ...]
    values: dict[str, str]
    """DuckDB's type of each value."""
    meanings: dict[str, str]
