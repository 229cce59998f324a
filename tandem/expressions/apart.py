"""Parsing in a process of its own, and what goes to it and comes back: data, and never a program."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from tandem.errors import ExpressionError
from tandem.expressions import Expression, Expressions, Type
from tandem.expressions.semantics import Zone


class Query(msgspec.Struct):
    """What is to be parsed."""

    sql: str
    columns: dict[str, str]


class Parsed(msgspec.Struct):
    """What was parsed."""

    expressions: list[tuple[str, str, str, tuple[str, ...], str, str]]
    variables: dict[str, str]
    values: dict[str, Any]
    zones: dict[str, str]
    choices: dict[str, list[Any]]

    @classmethod
    def of(cls, found: Expressions) -> "Parsed":
        """Take expressions apart."""
        zones = {name: str(value) for name, value in found.constants.items() if isinstance(value, Zone)}
        choices = {name: list(value) for name, value in found.constants.items() if isinstance(value, frozenset)}
        values = {n: value for n, value in found.constants.items() if n not in zones and n not in choices}
        expressions = [(e.name, e.comment, e.type.value, e.columns, e.sql, e.code) for e in found.expressions]
        return cls(expressions, dict(found.variables), values, zones, choices)

    def whole(self) -> Expressions:
        """Put expressions together."""
        constants = self.values | {name: Zone(zone) for name, zone in self.zones.items()}
        constants |= {name: frozenset(choice) for name, choice in self.choices.items()}
        found = (
            Expression(n, said, Type(kind), reads, sql, code) for n, said, kind, reads, sql, code in self.expressions
        )
        return Expressions(tuple(found), self.variables, constants)


class Parsing:
    """A query that is being parsed, while its owner does something else."""

    def __init__(self, sql: str, columns: Mapping[str, Type]) -> None:
        """Begin."""
        query = Query(sql, {name: kind.value for name, kind in columns.items()})
        pipe = subprocess.PIPE
        command = [sys.executable, "-m", "tandem.expressions"]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603 - our own module
        self._query = msgspec.msgpack.encode(query)

    def done(self) -> Expressions:
        """Give what was parsed.

        Raises:
            ExpressionError: it cannot be, and why.

        """
        said, told = self._process.communicate(self._query)
        if self._process.returncode:
            raise ExpressionError(told.decode().strip())
        return msgspec.msgpack.decode(said, type=Parsed).whole()
