"""Request features: SQL that DuckDB runs over a table, and that a Python function computes for one request.

`request.sql` holds one `select ... from request`. Both ways give the same value, to the bit; what cannot is refused
when the file is parsed. A compiled function takes and returns int for BIGINT, float for DOUBLE, bool, str, and int
microseconds in UTC for TIMESTAMP; None is NULL. It raises ArithmeticError (OverflowError, ZeroDivisionError) where
DuckDB raises; DuckDB's optimizer raises less, `x + 1 > 2` being `x > 1` to it. Time zones are those of the machine,
and DuckDB's are its own: they agree but for zones whose law has just changed.
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Self, cast

from tandem.errors import ExpressionError
from tandem.expressions.kinds import Type
from tandem.expressions.semantics import NAMES

__all__ = ["Expression", "Expressions", "Row", "Type"]

Row = Callable[[Sequence[object]], tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Expression:
    """One request feature: its name, what it means, its type, the columns it reads and its own SQL."""

    name: str
    comment: str
    type: Type
    columns: tuple[str, ...]
    sql: str
    node: ast.expr = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Expressions:
    """The request features of a problem, typed and ready to compile."""

    expressions: tuple[Expression, ...]
    variables: Mapping[str, str] = field(repr=False)
    zones: Mapping[str, object] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, sql: str, columns: Mapping[str, Type]) -> Self:
        """Read `select ... from request` over columns of known types.

        Raises ExpressionError if it is no such query, or what DuckDB computes cannot be computed online.
        """
        from tandem.expressions import request  # noqa: PLC0415 - sqlglot takes 0.3 s

        found, zones = request.read(sql, columns)
        expressions = (Expression(c.name, c.comment, c.type, c.reads, c.text, c.code.node) for c in found)
        return cls(tuple(expressions), {name: f"c{position}" for position, name in enumerate(columns)}, zones)

    @property
    def names(self) -> tuple[str, ...]:
        """The expressions' names in their order."""
        return tuple(expression.name for expression in self.expressions)

    def sql_of(self, names: Iterable[str]) -> str:
        """Return a query of these expressions alone, in their own words."""
        return "select\n    " + ",\n    ".join(self._named(name).sql for name in names) + "\nfrom request"

    def compile(self, inputs: Sequence[str], outputs: Sequence[str] | None = None) -> Row:
        """Return the function from one row's values, in the order of `inputs`, to those of `outputs`.

        Raises ExpressionError if an output is unknown or reads what is not among the inputs.
        """
        wanted = [self._named(name) for name in (self.names if outputs is None else outputs)]
        position = {name: index for index, name in enumerate(inputs)}
        for expression in wanted:
            if missing := sorted(set(expression.columns) - set(position)):
                message = f"{expression.name}: reads {', '.join(missing)}, which the row does not hold"
                raise ExpressionError(message)
        reads = sorted({name for expression in wanted for name in expression.columns})
        return self._function([(self.variables[name], position[name]) for name in reads], wanted)

    def _function(self, reads: list[tuple[str, int]], wanted: list[Expression]) -> Row:
        """Build the function from trees; there is no text that a bundle could have written."""
        tree = ast.parse("def row(values): return ()")
        definition = cast("ast.FunctionDef", tree.body[0])
        assignments = [ast.parse(f"{name} = values[{index}]").body[0] for name, index in reads]
        result = ast.Tuple([expression.node for expression in wanted], ast.Load())
        definition.body = [*assignments, ast.Return(result)]
        code = compile(ast.fix_missing_locations(tree), "<request.sql>", "exec")
        body = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
        return FunctionType(body, {**NAMES, **self.zones}, "row")

    def _named(self, name: str) -> Expression:
        for expression in self.expressions:
            if expression.name == name:
                return expression
        message = f"{name}: there is no such expression; there are {', '.join(self.names)}"
        raise ExpressionError(message)
