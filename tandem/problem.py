"""A problem: what is particular to one prediction, declared in `problems/<name>/` and named in params.yaml."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from tandem.errors import ProblemError

Format = Literal["csv", "csv.zip", "parquet", "jsonl"]
EXAMPLE = "example.json"
NAME = re.compile(r"[a-z][a-z0-9_]*")
TAKEN = ("model", "defaults", "rates", "logistic")
"""Names of what every problem's model stands beside."""


@dataclass(frozen=True)
class Source:
    """Where raw rows come from. Its contract is `contracts.SOURCES[name]`; each kind of fact has its SQL file."""

    name: str
    format: Format
    kinds: tuple[str, ...] = ()
    null: str = ""
    beside: tuple[str, ...] = ()
    """Sources whose rows the facts' SQL may look things up in."""


@dataclass(frozen=True)
class Problem:
    """One prediction problem. What is not said here is a file in its folder, found by its name."""

    name: str
    question: str
    sources: tuple[Source, ...]
    keys: tuple[str, ...]
    """The request's columns that tell one request from another and bring it together with its label."""
    rates: tuple[str, ...]
    """The columns of the rate table, the simplest baseline: the share of positives by these."""
    baselines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Models without most of the views: name, and the views it keeps beside the request features."""
    lookback: timedelta | None = None
    """A fact that both happened and became known longer ago makes no new row in any view; None: it may."""
    replayed: bool = False
    """Its data is of the past and is played again: without a clock of its own, world time stands at `as_of`."""

    def __post_init__(self) -> None:
        """Refuse what nothing could be made of.

        Raises:
            ProblemError: no fact would make a row in any view, or a baseline has a name that it cannot have.

        """
        if self.lookback is not None and not (isinstance(self.lookback, timedelta) and self.lookback > timedelta()):
            msg = (
                f"problem.py: lookback is {self.lookback!r}, and must be a timedelta of more than nothing, or left out"
            )
            raise ProblemError(msg)
        if bad := [name for name in self.baselines if name in TAKEN or not NAME.fullmatch(name)]:
            called = f"a baseline is called by a word of a-z, 0-9 and _, and not {' or '.join(TAKEN)}"
            msg = f"problem.py: {called}: {bad[0]!r}"
            raise ProblemError(msg)

    @cached_property
    def folder(self) -> Path:
        """Where its files are."""
        spec = find_spec(f"problems.{self.name}")
        if spec is None or not spec.submodule_search_locations:
            msg = f"problems/{self.name}/ is not a package"
            raise ProblemError(msg)
        return Path(spec.submodule_search_locations[0])

    @cached_property
    def contracts(self) -> ModuleType:
        """The contracts, imported when first needed: dataframely takes a second.

        Raises:
            ProblemError: the file or a contract in it is missing.

        """
        self.text("contracts.py")
        found = import_module(f"problems.{self.name}.contracts")
        named = (("SOURCES", [source.name for source in self.sources]), ("FACTS", self.kinds))
        lacking = [
            f"{part}[{each!r}]" for part, names in named for each in names if each not in getattr(found, part, ())
        ]
        lacking += [] if hasattr(found, "Request") else ["Request"]
        if lacking:
            msg = f"problems/{self.name}/contracts.py lacks {', '.join(lacking)}"
            raise ProblemError(msg)
        beside = sorted({name for source in self.sources for name in source.beside if name in found.SOURCES})
        if keyless := [name for name in beside if not found.SOURCES[name].primary_key()]:
            msg = f"problems/{self.name}/contracts.py: {', '.join(keyless)} is looked up in, and needs a primary key"
            raise ProblemError(msg)
        return found

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of fact."""
        return tuple(kind for source in self.sources for kind in source.kinds)

    def source(self, name: str) -> Source:
        """Find a source by its name."""
        for source in self.sources:
            if source.name == name:
                return source
        msg = f"problem {self.name} has no source {name!r}: it has {', '.join(s.name for s in self.sources)}"
        raise ProblemError(msg)

    def text(self, name: str) -> str:
        """Read one of its files."""
        path = self.folder / name
        if not path.is_file():
            msg = f"problem {self.name} lacks {name}"
            raise ProblemError(msg)
        return path.read_text()

    def sql(self, name: str) -> str:
        """Read one of its SQL files."""
        return self.text(f"{name}.sql")

    def example(self) -> dict[str, Any]:
        """One request whose every field is filled.

        Raises:
            ProblemError: it is missing, or not JSON.

        """
        try:
            value: dict[str, Any] = json.loads(self.text(EXAMPLE))
        except ValueError as exc:
            msg = f"problem {self.name}: {EXAMPLE} is not JSON: {exc}"
            raise ProblemError(msg) from exc
        return value


def load_problem(name: str) -> Problem:
    """Find a problem by the name that params.yaml gives.

    Raises:
        ProblemError: there is no such problem, or it declares none.

    """
    if find_spec(f"problems.{name}") is None:
        msg = f"params.yaml names problem {name!r}, but there is no {Path(__file__).parents[1] / 'problems' / name}/"
        raise ProblemError(msg)
    problem = getattr(import_module(f"problems.{name}.problem"), "PROBLEM", None)
    if not isinstance(problem, Problem):
        msg = f"problems/{name}/problem.py must set PROBLEM to a tandem.problem.Problem"
        raise ProblemError(msg)
    return problem
