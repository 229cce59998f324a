"""Which facts a query reads, told from its syntax tree: what is shared, such as macros, is followed to its facts."""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import traverse_scope

from tandem.errors import ProblemError

Query = Any  # sqlglot's trees have a class for each word of SQL


def _parsed(sql: str) -> list[Query]:
    try:
        return [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement]
    except SqlglotError as exc:
        msg = f"{sql.strip().splitlines()[0]}\n{str(exc).splitlines()[0]}"
        raise ProblemError(msg) from exc


def _named(query: Query) -> Iterator[str]:
    """Name the tables that are read and the functions that are called; a query's own `with` hides what it names."""
    for scope in traverse_scope(query):
        yield from (source.name.lower() for source in scope.sources.values() if isinstance(source, exp.Table))
    yield from (call.name.lower() for call in query.find_all(exp.Anonymous))


class Lineage:
    """The facts behind the queries of a problem."""

    def __init__(self, kinds: tuple[str, ...], shared: str = "") -> None:
        """Know the kinds of fact, and what the SQL that queries share makes by which name.

        Raises:
            ProblemError: the SQL cannot be parsed.

        """
        self._kinds = kinds
        made = [statement for statement in _parsed(shared) if isinstance(statement, exp.Create)]
        self._shared: Mapping[str, Query] = {_name_of(each): each.expression for each in made}

    def facts(self, sql: str) -> tuple[str, ...]:
        """Name the kinds of fact that a query reads, in the problem's order.

        Raises:
            ProblemError: the SQL cannot be parsed.

        """
        waiting, found = list(_parsed(sql)), set[str]()
        while waiting:
            new = set(_named(waiting.pop())) - found
            found |= new
            waiting += [self._shared[name] for name in sorted(new & self._shared.keys())]
        return tuple(kind for kind in self._kinds if kind in found and kind not in self._shared)


def _name_of(made: Query) -> str:
    return str(made.find(exp.Table, bfs=True).name).lower()
