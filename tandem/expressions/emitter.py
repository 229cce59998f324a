"""From sqlglot's tree to Python's: a white list of constructs, which `operators` and `functions` fill."""

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn
from zoneinfo import ZoneInfoNotFoundError

from sqlglot import exp

from tandem.errors import ExpressionError
from tandem.expressions.kinds import BOOLEAN, DOUBLE, KINDS, NULL, Kind, KindError, Type, common
from tandem.expressions.nodes import Builder, Code, column, converted
from tandem.expressions.semantics import local_time_of

DEEPEST = 60

TRANSCENDENTAL = "its last bits differ between processors: compute it in a view"
UNICODE = "DuckDB and Python know different versions of Unicode: compute it in a view"
CLOCK = "it is not a function of the request: pass the moment as a column"
ROWS = "it needs more than the request's row: compute it in a view"
TEXT = "strings can only be compared: compute it in a view"
REASONS: dict[type[exp.Expr], str] = {
    **dict.fromkeys((exp.Exp, exp.Ln, exp.Log, exp.Pow, exp.Sin, exp.Cos, exp.Tan, exp.Cbrt), TRANSCENDENTAL),
    **dict.fromkeys((exp.Lower, exp.Upper, exp.ILike, exp.RegexpLike), UNICODE),
    **dict.fromkeys((exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime, exp.Rand), CLOCK),
    **dict.fromkeys((exp.Subquery, exp.Window, exp.AggFunc, exp.Star, exp.Exists), ROWS),
    **dict.fromkeys((exp.DPipe, exp.Concat, exp.Like, exp.Substring), TEXT),
    exp.AtTimeZone: "write `x at time zone 'UTC' at time zone 'America/New_York'`, which turns UTC into local time",
    exp.Interval: "it may only be added to or subtracted from a timestamp",
    exp.Null: "it has no type here: write `is null`, or `null::double`",
    exp.Sign: "write `case when x > 0 then 1 when x < 0 then -1 else 0 end`",
    exp.Trunc: "write `case when x < 0 then ceil(x) else floor(x) end`",
    exp.IsNan: "write `x = 'nan'::double` as `x is not distinct from ...`: a NaN is above every number, `x > 1e308`",
}

Handler = Callable[["Emitter", Any], Code]
HANDLERS: dict[type[exp.Expr], tuple[Handler, frozenset[str]]] = {}


def on(*nodes: type[exp.Expr], uses: str = "this") -> Callable[[Handler], Handler]:
    """Register what emits some nodes, and the only arguments of theirs that it understands."""

    def registered(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(nodes, (handler, frozenset(uses.split()))))
        return handler

    return registered


class Emitter:
    """Emits expressions over columns, each of which becomes a local variable named by its position."""

    def __init__(self, columns: Mapping[str, Type]) -> None:
        """Name the columns that may be read."""
        self.columns = {
            name: column(KINDS[type_], f"c{position}") for position, (name, type_) in enumerate(columns.items())
        }
        self.zones: dict[str, object] = {}
        self.builder = Builder()
        self.name, self._depth = "", 0

    def expression(self, name: str, node: exp.Expr) -> Code:
        """Emit one expression, or raise an ExpressionError if it uses what is not on the white list."""
        self.name, self._depth = name, 0
        return self.emit(node)

    def emit(self, node: exp.Expr) -> Code:
        """Emit a node as a value, NULL being None."""
        handler, uses = HANDLERS.get(type(node), (None, frozenset[str]()))
        if handler is None:
            self.refuse(node, next((why for kind, why in REASONS.items() if isinstance(node, kind)), None))
        if unknown := [key for key, value in node.args.items() if value and key not in uses]:
            self.refuse(node, f"leave {', '.join(unknown)} out")
        with self.deeper(node):
            return handler(self, node)

    def boolean(self, node: exp.Expr) -> Code:
        """Emit what must be a truth value."""
        return self.demand(self.emit(node), node, lambda kind: kind == BOOLEAN, "write a comparison, such as `x <> 0`")

    def number(self, node: exp.Expr) -> Code:
        """Emit what must be a number."""
        return self.demand(self.emit(node), node, lambda kind: kind.is_number, "cast it: `x::bigint` or `x::double`")

    def double(self, node: exp.Expr) -> Code:
        """Emit a number as a double."""
        return converted(self.builder, self.number(node), DOUBLE)

    def demand(self, code: Code, node: exp.Expr, fits: Callable[[Kind], bool], write: str) -> Code:
        """Refuse what is of another kind."""
        return code if fits(code.kind) else self.refuse(node, f"it is of type {code.kind} here: {write}")

    def union(self, node: exp.Expr, parts: Iterable[exp.Expr]) -> list[Code]:
        """Emit values that meet in one kind, to be compared or chosen among; NULL has any."""
        codes = [self.emit(part) if not isinstance(part, exp.Null) else self.null for part in parts]
        return self.unified(node, codes)

    def unified(self, node: exp.Expr, codes: list[Code]) -> list[Code]:
        """Convert values to the kind in which they meet."""
        with self.explained(node):
            kind = common(code.kind for code in codes)
        return [converted(self.builder, code, kind) for code in codes]

    @property
    def null(self) -> Code:
        """NULL, which has no kind yet."""
        node = ast.Constant(None)
        return Code(NULL, node, (ast.Constant(value=True),), whole=node)

    def zone(self, node: exp.Expr) -> str:
        """Return the name of the function to local time in a zone."""
        name = f"zone{len(self.zones)}"
        try:
            self.zones[name] = local_time_of(node.name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.refuse(node, "there is no such time zone")
        return name

    @contextmanager
    def explained(self, node: exp.Expr) -> Iterator[None]:
        """Refuse a node whose values do not meet in one kind."""
        try:
            yield
        except KindError as exc:
            self.refuse(node, f"it {exc}: cast its parts, as in `x::double`")

    @contextmanager
    def deeper(self, node: exp.Expr) -> Iterator[None]:
        """Refuse a node that is nested too deep for recursion."""
        self._depth += 1
        if self._depth > DEEPEST:
            self.refuse(node, f"it is nested more than {DEEPEST} deep: compute a part of it in a view")
        yield
        self._depth -= 1

    def refuse(self, node: exp.Expr, why: str | None = None) -> NoReturn:
        """Say which expression uses what, and what to write instead."""
        text = " ".join(node.sql(dialect="duckdb").split())
        shown = text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
        message = f"{self.name}: `{shown}` cannot be computed online; {why or 'compute it in a view'}"
        raise ExpressionError(message)
