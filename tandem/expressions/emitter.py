"""From sqlglot's tree to a Python expression, in which None is NULL.

The white list is the tables of `rules` and the methods `_on_...`, named by sqlglot's nodes. The text of a program is
made of this package's formulas and of numbered names: c1 is a column, k1 a constant, t1 a value that is needed twice.
Nothing that stands in a bundle is ever text of a program.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from re import fullmatch
from typing import Any, NoReturn
from zoneinfo import ZoneInfoNotFoundError

from sqlglot import exp

from tandem.errors import ExpressionError
from tandem.expressions.rules import CASTS, OPTIONS, PARTS, RULES, UNITS, Rule, of_time
from tandem.expressions.semantics import DECIMAL, INTEGER, INTEGERS, NULL, Kind, Type, Zone, common, local_time_of

BIGINT, DOUBLE, BOOLEAN, VARCHAR, TIMESTAMP = Type
OPERANDS = {"this", "expression"}
EXACT_DIGITS = 15


@dataclass(frozen=True, slots=True)
class Code:
    """The kind of an expression, and its text: a name, or something in brackets."""

    kind: Kind
    text: str

    @property
    def is_name(self) -> bool:
        """Whether it may be written twice and cannot raise."""
        return self.text.isidentifier()


NOTHING = Code(NULL, "None")


class Emitter:
    """Emits expressions over columns, or refuses them with an ExpressionError."""

    def __init__(self, columns: Mapping[str, Type]) -> None:
        """Name the columns that may be read, each a local variable named by its position."""
        self.columns = {name: Code(kind, f"c{n}") for n, (name, kind) in enumerate(columns.items())}
        self.constants: dict[str, Any] = {}
        self.name = "the request's SQL"
        self._numbers = count()

    def variable(self) -> str:
        """Name a new local variable."""
        return f"t{next(self._numbers)}"

    def constant(self, kind: Kind, value: object) -> Code:
        """Return a constant, which the program finds by a name."""
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return Code(kind, name)

    def bind(self, code: Code) -> tuple[Code, Code]:
        """Return a value for its first use, and for those after it."""
        if code.is_name:
            return code, code
        name = self.variable()
        return Code(code.kind, f"({name} := {code.text})"), Code(code.kind, name)

    def strict(self, kind: Kind, formula: str, *codes: Code) -> Code:
        """Return what is NULL if an argument is, and otherwise the formula.

        An argument that may raise is evaluated even where another one is NULL, as DuckDB does.
        """
        bound = [(code, *self.bind(code)) for code in codes]
        raising = " | ".join(f"({first.text} is None)" for code, first, _ in bound if not code.is_name)
        names = [code.text for code in codes if code.is_name and code.text not in self.constants]
        others = dict.fromkeys(f"{name} is None" for name in names)
        nulls = " or ".join([raising, *others] if raising else others)
        low, high = INTEGERS.get(kind, (0, 0))
        value = formula.format(*(again.text for *_, again in bound), t=self.variable(), low=low, high=high)
        return Code(kind, f"(None if {nulls} else {value})" if nulls else f"({value})")

    def apply(self, node: exp.Expr, rule: Rule, *arguments: Code) -> Code:
        """Apply a rule to arguments in the kind in which they meet."""
        codes = self.meet(node, arguments, rule.among)
        kind = codes[0].kind
        if kind not in rule.formulas:
            self.refuse(node, f"it is of type {kind}, and would have to be {' or '.join(rule.formulas)}")
        return self.strict(rule.gives or kind, rule.formulas[kind], *codes)

    def meet(self, node: exp.Expr, codes: Sequence[Code], among: Iterable[Kind] = ()) -> list[Code]:
        """Convert values to the kind in which they meet."""
        kind = common([*(code.kind for code in codes), *among])
        if kind is None:
            mixed = " and ".join(sorted({code.kind for code in codes}))
            self.refuse(node, f"it is of {mixed}: cast its parts, as in `x::double` or `0.5::double`")
        return [self.converted(code, kind) for code in codes]

    def converted(self, code: Code, kind: Kind) -> Code:
        """Convert a value as a cast does; a constant becomes another one."""
        if code.kind in (kind, NULL) or (code.kind, kind) == (INTEGER, BIGINT):
            return replace(code, kind=kind)
        if code.text in self.constants and kind == DOUBLE:
            return self.constant(kind, float(self.constants[code.text]))
        return self.strict(kind, CASTS[code.kind, kind], code)

    def emit(self, node: exp.Expr) -> Code:
        """Emit a node as a value."""
        kind = type(node)
        handler: Callable[[exp.Expr], Code] | None = getattr(self, f"_on_{kind.__name__.lower()}", None)
        if handler is None and kind not in RULES:
            self.refuse(node, "it is not on the white list: compute it in a view")
        if unknown := {key for key, value in node.args.items() if value} - OPERANDS - OPTIONS.get(kind, set()):
            self.refuse(node, f"leave {', '.join(sorted(unknown))} out")
        if handler:
            return handler(node)
        return self.apply(node, RULES[kind], *(self.emit(part) for part in (node.this, node.expression) if part))

    def boolean(self, node: exp.Expr) -> Code:
        """Emit what must be a truth value."""
        code = self.emit(node)
        if code.kind != BOOLEAN:
            self.refuse(node, f"it is of type {code.kind} here: write a comparison, such as `x <> 0`")
        return code

    def condition(self, node: exp.Expr) -> str:
        """Emit the condition of a CASE: true or not, unknown being not; unlike in values, AND and OR stop early."""
        match node:
            case exp.Paren():
                return self.condition(node.this)
            case exp.And() | exp.Or():
                word = "and" if isinstance(node, exp.And) else "or"
                return f"({self.condition(node.this)} {word} {self.condition(node.expression)})"
            case exp.Between() if not node.args.get("symmetric"):
                low, high = self.sides(node)
                return f"({low.text} and {high.text})"
            case _:
                return self.boolean(node).text

    def sides(self, node: exp.Between) -> tuple[Code, Code]:
        """Emit the two comparisons that BETWEEN is, of which the first is to be evaluated first."""
        x, low, high = self.union(node, node.this, node.args["low"], node.args["high"])
        first, again = self.bind(x)
        return self.apply(node, RULES[exp.GTE], first, low), self.apply(node, RULES[exp.LTE], again, high)

    def logic(self, a: Code, b: Code, decides: str, otherwise: str) -> Code:
        """Emit AND or OR of three values."""
        (first_a, a), (first_b, b) = self.bind(a), self.bind(b)
        decided = f"({first_a.text} is {decides}) | ({first_b.text} is {decides})"
        unknown = f"{a.text} is None or {b.text} is None"
        return Code(BOOLEAN, f"({decides} if {decided} else None if {unknown} else {otherwise})")

    def union(self, node: exp.Expr, *parts: exp.Expr) -> list[Code]:
        """Emit values that meet in one kind, to be compared or chosen among; NULL has any."""
        return self.meet(node, [NOTHING if isinstance(part, exp.Null) else self.emit(part) for part in parts])

    def unit(self, node: exp.Expr) -> int:
        """Return a unit's microseconds; DuckDB would take a column of that name for the unit."""
        name = node.text("unit").lower()
        if name not in UNITS or name in self.columns:
            self.refuse(node, f"the units are {', '.join(map(repr, UNITS))}, and no column is named so")
        return UNITS[name]

    def refuse(self, node: exp.Expr, why: str) -> NoReturn:
        """Say which expression uses what, and what to write instead."""
        text = " ".join(node.sql(dialect="duckdb", comments=False).split())
        shown = text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
        message = f"{self.name}: `{shown}` cannot be computed online; {why}"
        raise ExpressionError(message)

    def _on_paren(self, node: exp.Paren) -> Code:
        return self.emit(node.this)

    def _on_column(self, node: exp.Column) -> Code:
        return self.columns.get(node.name) or self.refuse(node, "there is no such column, and no alias is one")

    def _on_boolean(self, node: exp.Boolean) -> Code:
        return self.constant(BOOLEAN, bool(node.this))

    def _on_literal(self, node: exp.Literal) -> Code:
        text = str(node.this)
        if node.is_string:
            return self.constant(VARCHAR, text)
        if fullmatch(r"\d{1,19}", text) and int(text) <= INTEGERS[BIGINT][1]:
            return self.constant(INTEGER if int(text) <= INTEGERS[INTEGER][1] else BIGINT, int(text))
        if fullmatch(r"\d*\.\d*", text) and 1 < len(text) <= EXACT_DIGITS + 1:
            return self.constant(DECIMAL, float(text))
        if fullmatch(r"\d*\.?\d*[eE][+-]?\d+", text):
            return self.constant(DOUBLE, float(text))
        return self.refuse(node, "it has too many digits: write it with an exponent, as a double")

    def _on_neg(self, node: exp.Neg) -> Code:
        code = self.emit(node.this)
        if isinstance(node.this, exp.Literal) and code.kind != VARCHAR:
            value = -self.constants[code.text]
            if code.kind == DECIMAL:
                return self.constant(DECIMAL, value + 0.0)  # which has no -0.0
            low = code.kind == BIGINT and value == INTEGERS[INTEGER][0]
            return self.constant(INTEGER if low else code.kind, value)
        if code.kind in INTEGERS and not node.find(exp.Column):
            self.refuse(node, "DuckDB widens a constant: write its value, or `0 - x`")
        return self.apply(node, RULES[exp.Neg], code)

    def _on_and(self, node: exp.And) -> Code:
        return self.logic(self.boolean(node.this), self.boolean(node.expression), "False", "True")

    def _on_or(self, node: exp.Or) -> Code:
        return self.logic(self.boolean(node.this), self.boolean(node.expression), "True", "False")

    def _on_between(self, node: exp.Between) -> Code:
        return self.logic(*self.sides(node), "False", "True")

    def _on_is(self, node: exp.Is) -> Code:
        if not isinstance(node.expression, exp.Null):
            self.refuse(node, "write `is null`, or the condition itself")
        return Code(BOOLEAN, f"({self.emit(node.this).text} is None)")

    def _on_nullsafeeq(self, node: exp.Binary) -> Code:
        (first_a, a), (first_b, b) = map(self.bind, self.union(node, node.this, node.expression))
        first, equal = self.bind(self.apply(node, RULES[exp.EQ], first_a, first_b))
        return Code(BOOLEAN, f"({a.text} is {b.text} if {first.text} is None else {equal.text})")

    def _on_nullsafeneq(self, node: exp.NullSafeNEQ) -> Code:
        return Code(BOOLEAN, f"(not {self._on_nullsafeeq(node).text})")

    def _on_in(self, node: exp.In) -> Code:
        listed = [option for option in node.expressions if not isinstance(option, exp.Null)]
        x, *options = self.union(node, node.this, *listed)
        if not all(option.text in self.constants for option in options):
            self.refuse(node, "list literals only, or write `x = a or x = b`")
        found = self.constant(x.kind, frozenset(self.constants[option.text] for option in options))
        return self.strict(BOOLEAN, "{0} in {1}" + " or None" * (len(listed) < len(node.expressions)), x, found)

    def _on_case(self, node: exp.Case) -> Code:
        branches = node.args["ifs"]
        *results, default = self.union(
            node, *(branch.args["true"] for branch in branches), node.args.get("default") or exp.Null()
        )
        if node.this:
            first, again = self.bind(self.emit(node.this))
            pairs = [(again if n else first, self.emit(branch.this)) for n, branch in enumerate(branches)]
            conditions = [self.apply(node, RULES[exp.EQ], *pair).text for pair in pairs]
        else:
            conditions = [self.condition(branch.this) for branch in branches]
        chain = "".join(f"{x.text} if {when} else " for x, when in zip(results, conditions, strict=True))
        return Code(default.kind, f"({chain}{default.text})")

    def _on_coalesce(self, node: exp.Coalesce) -> Code:
        *firsts, last = self.union(node, node.this, *node.expressions)
        chain = "".join(f"{again.text} if {first.text} is not None else " for first, again in map(self.bind, firsts))
        return Code(last.kind, f"({chain}{last.text})")

    def _on_nullif(self, node: exp.Nullif) -> Code:
        first, again = self.bind(self.emit(node.this))
        equal = self.apply(node, RULES[exp.EQ], first, self.emit(node.expression))
        if again.kind == DECIMAL:
            self.refuse(node, "write `0.5::double`")
        return Code(again.kind, f"(None if {equal.text} else {again.text})")

    def _on_greatest(self, node: exp.Func) -> Code:
        codes = self.union(node, node.this, *node.expressions)
        choose = "max" if isinstance(node, exp.Greatest) else "min"
        return Code(codes[0].kind, f"chosen({', '.join([choose, *(code.text for code in codes)])})")

    _on_least = _on_greatest

    def _on_cast(self, node: exp.Cast) -> Code:
        target = Type.__members__.get(node.to.this.name)
        if target is None or node.to.expressions:
            self.refuse(node, f"cast to {BIGINT}, {DOUBLE} or {BOOLEAN}")
        code = NOTHING if isinstance(node.this, exp.Null) else self.emit(node.this)
        if code.kind not in (target, NULL) and (code.kind, target) not in CASTS:
            self.refuse(node, f"{code.kind} is not cast to {target}: compute it in a view")
        return self.converted(code, target)

    def _on_anonymous(self, node: exp.Anonymous) -> Code:
        """`date_part('hour', x)`, which sqlglot does not know."""
        match node.name.lower(), node.expressions:
            case "date_part", [exp.Literal() as name, x] if name.is_string and name.name in PARTS:
                return self.apply(node, RULES[PARTS[name.name]], self.emit(x))
        return self.refuse(node, f"of such functions only `date_part` is known, of {', '.join(map(repr, PARTS))}")

    def _on_datediff(self, node: exp.DateDiff) -> Code:
        unit = self.unit(node)
        rule = of_time(f"{{1}} // {unit} - {{0}} // {unit}")
        return self.apply(node, rule, self.emit(node.expression), self.emit(node.this))

    def _on_timestamptrunc(self, node: exp.TimestampTrunc) -> Code:
        unit = self.unit(node)
        return self.apply(node, of_time(f"{{0}} // {unit} * {unit}", TIMESTAMP), self.emit(node.this))

    def _on_attimezone(self, node: exp.AtTimeZone) -> Code:
        utc, zone = node.this, node.args["zone"]
        inside = isinstance(utc, exp.AtTimeZone) and utc.args["zone"].is_string and utc.args["zone"].name == "UTC"
        if not (inside and zone.is_string):
            self.refuse(node, "write `x at time zone 'UTC' at time zone 'America/New_York'`: UTC into local time")
        try:
            local_time_of(zone.name)
            local = self.constant(NULL, Zone(zone.name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.refuse(node, "there is no such time zone")
        return self.apply(node, of_time(f"{local.text}({{0}})", TIMESTAMP), self.emit(utc.this))
