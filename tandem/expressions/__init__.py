"""Request features: SQL that DuckDB runs over a table, and that a Python function computes for one request.

`request.sql` holds one `select ... from request`. Both ways give the same value, to the bit; what cannot is refused
when the file is parsed. A compiled function takes and returns int for BIGINT, float for DOUBLE, bool, str, and int
microseconds in UTC for TIMESTAMP; None is NULL. It raises ArithmeticError (OverflowError, ZeroDivisionError) where
DuckDB raises; but DuckDB's optimizer raises less, `x + 1 > 2` being `x > 1` to it, and more, computing parts of some
branches that are not taken. Time zones are those of the machine, and DuckDB's are its own: they agree but for zones
whose law has just changed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Self

from tandem.errors import ExpressionError
from tandem.expressions.semantics import FUNCTIONS, Type, Zone, local_time_of

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
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Expressions:
    """The request features of a problem, typed and ready to compile."""

    expressions: tuple[Expression, ...]
    variables: Mapping[str, str] = field(repr=False)
    constants: Mapping[str, object] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, sql: str, columns: Mapping[str, Type]) -> Self:
        """Read `select ... from request` over columns of known types.

        Raises ExpressionError if it is no such query, or what DuckDB computes cannot be computed online.
        """
        from tandem.expressions import request  # noqa: PLC0415 - sqlglot takes 0.3 s

        found, constants = request.read(sql, columns)
        return cls(found, {name: f"c{position}" for position, name in enumerate(columns)}, constants)

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
        lines = [f"{self.variables[name]} = values[{position[name]}]" for name in reads]
        lines.append("return " + "".join(f"{expression.code}, " for expression in wanted) if wanted else "return ()")
        code = compile("\n    ".join(["def row(values):", *lines]), "<request.sql>", "exec")
        body = next(constant for constant in code.co_consts if isinstance(constant, CodeType))
        functions = {function.__name__: function for function in FUNCTIONS}
        constants = {n: local_time_of(v) if isinstance(v, Zone) else v for n, v in self.constants.items()}
        return FunctionType(body, {"__builtins__": {}, **functions, **constants}, "row")

    def _named(self, name: str) -> Expression:
        for expression in self.expressions:
            if expression.name == name:
                return expression
        message = f"{name}: there is no such expression; there are {', '.join(self.names)}"
        raise ExpressionError(message)
