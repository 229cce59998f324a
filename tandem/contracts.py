"""What each kind of row promises: a dataframely schema is the type.

A column is marked by its metadata: `KEY` says which entity or request a row is about, `PERSONAL` what must not leave
the workspace unprotected.
"""

from typing import Any

import polars as pl

from tandem.imports import without

with without("sqlalchemy"):  # 0.7 s, for databases that are not used here
    import dataframely as dy

Contract = type[dy.Schema]
SchemaError = dy.exc.SchemaError
WRONG = (SchemaError, dy.exc.ValidationError)
"""What holding a frame against a contract raises: its columns are others, or a value breaks a rule."""

KEY = {"key": True}
PERSONAL = {"personal": True}

TYPES: dict[type[dy.Column], tuple[str, dict[str, Any]]] = {
    dy.String: ("VARCHAR", {"type": "string"}),
    dy.Int64: ("BIGINT", {"type": "integer"}),
    dy.Float64: ("DOUBLE", {"type": "number"}),
    dy.Bool: ("BOOLEAN", {"type": "boolean"}),
    dy.Datetime: ("TIMESTAMP", {"type": "string", "format": "date-time"}),
}
"""How DuckDB and how JSON Schema call the type of a column."""


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
        return pl.all_horizontal(pl.col("event_at", "known_at").dt.year().is_between(1970, 2200))


def marked(contract: Contract, mark: dict[str, bool]) -> tuple[str, ...]:
    """Names of the columns that bear a mark."""
    return tuple(n for n, c in contract.columns().items() if (c.metadata or {}).items() >= mark.items())


def required(contract: Contract) -> tuple[str, ...]:
    """Names of the columns that every row must fill."""
    return tuple(name for name, column in contract.columns().items() if not column.nullable)


def sql_types(contract: Contract) -> dict[str, str]:
    """DuckDB's type of each column that a file of the source has."""
    own = {name: column for name, column in contract.columns().items() if name not in Row.columns()}
    return {name: TYPES[type(column)][0] for name, column in own.items()}


def code_of(contract: Contract) -> bytes:
    """Give all by which a contract judges a row, so that a change of another is none of its."""
    rules = contract._validation_rules(with_cast=False)  # noqa: SLF001 - in `repr` their expressions may be cut short
    return repr(contract).encode() + b"".join(rule.expr.meta.serialize() for rule in rules.values())


def json_schema(contract: Contract) -> dict[str, Any]:
    """Return the contract as JSON Schema, for those who do not speak dataframely."""
    properties = {}
    for name, column in contract.columns().items():
        kind = dict(TYPES[type(column)][1])
        for ours, theirs in (("min", "minimum"), ("max", "maximum"), ("regex", "pattern"), ("max_length", "maxLength")):
            if (bound := getattr(column, ours, None)) is not None:
                kind[theirs] = bound
        if column.nullable:
            kind["type"] = [kind["type"], "null"]
        kind |= {mark: True for mark in ("key", "personal") if (column.metadata or {}).get(mark)}
        properties[name] = kind | ({"description": column.description} if column.description else {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.__name__,
        "description": (contract.__doc__ or "").strip(),
        "type": "object",
        "additionalProperties": False,
        "required": list(required(contract)),
        "properties": properties,
    }
