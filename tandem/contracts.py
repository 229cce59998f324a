"""What each kind of row promises: a dataframely schema is the type.

A column is marked by its metadata: `KEY` says which entity or request a row is about, `PERSONAL` what must not leave
the workspace unprotected.
"""

import ast
import inspect
import sys
from typing import Any

import polars as pl

from tandem.imports import without

with without("sqlalchemy"):  # 0.7 s, for databases that are not used here
    import dataframely as dy

KEY = {"key": True}
PERSONAL = {"personal": True}

SQL_TYPES: dict[type[dy.Column], str] = {
    dy.String: "VARCHAR",
    dy.Int64: "BIGINT",
    dy.Float64: "DOUBLE",
    dy.Bool: "BOOLEAN",
    dy.Datetime: "TIMESTAMP",
}
JSON_TYPES: dict[type[dy.Column], dict[str, Any]] = {
    dy.String: {"type": "string"},
    dy.Int64: {"type": "integer"},
    dy.Float64: {"type": "number"},
    dy.Bool: {"type": "boolean"},
    dy.Datetime: {"type": "string", "format": "date-time"},
}


class Row(dy.Schema):
    """A row of a source: what it holds, and where it came from."""

    landing = dy.String(nullable=False, description="SHA-256 of the raw file")
    row = dy.Int64(nullable=False, min=1, description="its number in that file, from 1")


class Fact(Row):
    """One thing that became known."""

    event_at = dy.Datetime(nullable=False, description="when it happened or will")
    known_at = dy.Datetime(nullable=False, description="when it could first be known")

    @dy.rule()
    def instants_are_of_this_era(cls) -> pl.Expr:  # noqa: N805
        """A clock gone wrong makes dates that nothing else would catch."""
        return pl.col("known_at").dt.year().is_between(1970, 2200)


def marked(schema: type[dy.Schema], mark: dict[str, bool]) -> tuple[str, ...]:
    """Names of the columns that bear a mark."""
    return tuple(n for n, c in schema.columns().items() if (c.metadata or {}).items() >= mark.items())


def required(schema: type[dy.Schema]) -> tuple[str, ...]:
    """Names of the columns that every row must fill."""
    return tuple(name for name, column in schema.columns().items() if not column.nullable)


def sql_types(schema: type[dy.Schema]) -> dict[str, str]:
    """DuckDB's type of each column that a file of the source has."""
    own = {name: column for name, column in schema.columns().items() if name not in Row.columns()}
    return {name: SQL_TYPES[type(column)] for name, column in own.items()}


def code_of(schema: type[dy.Schema]) -> str:
    """Give the code of a contract and of all that it uses of its module, so that a change of another is none of its."""
    tree = ast.parse(inspect.getsource(sys.modules[schema.__module__]))
    defined = {name: node for node in tree.body for name in _names_defined(node)}
    waiting, found = [schema.__name__], dict[str, ast.stmt]()
    while waiting:
        name = waiting.pop()
        found[name] = defined[name]
        used = {node.id for node in ast.walk(defined[name]) if isinstance(node, ast.Name)}
        waiting += sorted((used & defined.keys()) - found.keys())
    return "\n".join(ast.unparse(found[name]) for name in sorted(found))


def _names_defined(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name.split(".")[0] for alias in names]
        case _:
            return [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def json_schema(schema: type[dy.Schema]) -> dict[str, Any]:
    """Return the contract as JSON Schema, for those who do not speak dataframely."""
    properties = {}
    for name, column in schema.columns().items():
        kind = dict(JSON_TYPES[type(column)])
        for ours, theirs in (("min", "minimum"), ("max", "maximum"), ("regex", "pattern"), ("max_length", "maxLength")):
            if (bound := getattr(column, ours, None)) is not None:
                kind[theirs] = bound
        if column.nullable:
            kind["type"] = [kind["type"], "null"]
        kind |= {mark: True for mark in ("key", "personal") if (column.metadata or {}).get(mark)}
        properties[name] = kind | ({"description": column.description} if column.description else {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": schema.__name__,
        "description": (schema.__doc__ or "").strip(),
        "type": "object",
        "additionalProperties": False,
        "required": list(required(schema)),
        "properties": properties,
    }
