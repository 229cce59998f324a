"""The white list's tables: constructs that are NULL where an argument is, and else a formula in Python.

A formula has its arguments at {0} and {1}, a free variable at {t}, and its type's limits at {low} and {high}.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp

from tandem.expressions.semantics import DAY, DECIMAL, HOUR, INTEGER, INTEGERS, MINUTE, SECOND, Kind, Type

BIGINT, DOUBLE, BOOLEAN, VARCHAR, TIMESTAMP = Type


@dataclass(frozen=True, slots=True)
class Rule:
    """A formula for each kind that arguments may meet in, and among what else they meet; the result's kind if other."""

    formulas: Mapping[Kind, str]
    gives: Kind | None = None
    among: tuple[Kind, ...] = ()


def checked(formula: str) -> str:
    """Return a formula of integers that raises where it leaves the range of their type."""
    return f"{{t}} if {{low}} <= ({{t}} := {formula}) <= {{high}} else overflow()"


def numbers(integers: str, doubles: str, gives: Kind | None = None) -> Rule:
    """Return the rule of a function of numbers."""
    return Rule({**dict.fromkeys(INTEGERS, integers), DOUBLE: doubles}, gives)


def compared(plain: str, doubles: str) -> Rule:
    """Return the rule of a comparison; that of doubles is DuckDB's, where NaN equals itself and is above all."""
    return Rule({**dict.fromkeys(Type, plain), INTEGER: plain, DOUBLE: doubles}, BOOLEAN)


def of_time(formula: str, gives: Kind = BIGINT) -> Rule:
    """Return the rule of a function of timestamps."""
    return Rule({TIMESTAMP: formula}, gives)


EQUAL = "{0} == {1} or ({0} != {0} and {1} != {1})"
LESS = "{0} < {1} or ({1} != {1} and {0} == {0})"
LESS_OR_EQUAL = "{0} <= {1} or {1} != {1}"

RULES: dict[type[exp.Expr], Rule] = {
    exp.Add: numbers(checked("{0} + {1}"), "{0} + {1}"),
    exp.Sub: numbers(checked("{0} - {1}"), "{0} - {1}"),
    exp.Mul: numbers(checked("{0} * {1}"), "{0} * {1}"),
    exp.Div: Rule({DOUBLE: "{0} / {1} if {1} else by_zero({0}, {1})"}, among=(DOUBLE,)),
    exp.IntDiv: Rule(dict.fromkeys(INTEGERS, checked("quotient({0}, {1})"))),
    exp.Mod: Rule(dict.fromkeys(INTEGERS, "remainder({0}, {1}, {low})")),
    exp.Neg: numbers(checked("-{0}"), "-{0}"),
    exp.Abs: numbers(checked("abs({0})"), "abs({0})"),
    exp.Round: numbers("{0}", "round_half_away({0})"),
    exp.Floor: numbers("float({0})", "floor({0})", DOUBLE),
    exp.Ceil: numbers("float({0})", "-floor(-{0})", DOUBLE),
    exp.EQ: compared("{0} == {1}", EQUAL),
    exp.NEQ: compared("{0} != {1}", f"not ({EQUAL})"),
    exp.LT: compared("{0} < {1}", LESS),
    exp.LTE: compared("{0} <= {1}", LESS_OR_EQUAL),
    exp.GT: compared("{0} > {1}", f"not ({LESS_OR_EQUAL})"),
    exp.GTE: compared("{0} >= {1}", f"not ({LESS})"),
    exp.Not: Rule({BOOLEAN: "not {0}"}),
    exp.DPipe: Rule({VARCHAR: "{0} + {1}"}),
    exp.Length: Rule({VARCHAR: "len({0})"}, BIGINT),
    exp.Year: of_time(f"date_of({{0}} // {DAY})[0]"),
    exp.Month: of_time(f"date_of({{0}} // {DAY})[1]"),
    exp.Day: of_time(f"date_of({{0}} // {DAY})[2]"),
    exp.DayOfYear: of_time(f"date_of({{0}} // {DAY})[3]"),
    exp.DayOfWeek: of_time(f"({{0}} // {DAY} + 4) % 7"),
    exp.DayOfWeekIso: of_time(f"({{0}} // {DAY} + 3) % 7 + 1"),
    exp.Hour: of_time(f"{{0}} // {HOUR} % 24"),
    exp.Minute: of_time(f"{{0}} // {MINUTE} % 60"),
    exp.Second: of_time(f"{{0}} // {SECOND} % 60"),
}
PARTS: dict[str, type[exp.Expr]] = {
    "year": exp.Year, "month": exp.Month, "day": exp.Day, "dayofyear": exp.DayOfYear, "dayofweek": exp.DayOfWeek,
    "isodow": exp.DayOfWeekIso, "hour": exp.Hour, "minute": exp.Minute, "second": exp.Second,
}  # fmt: skip
UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
CASTS: dict[tuple[Kind, Kind], str] = {
    **dict.fromkeys([(INTEGER, BIGINT), (DECIMAL, DOUBLE)], "{0}"),
    **dict.fromkeys([(INTEGER, DOUBLE), (BIGINT, DOUBLE), (BOOLEAN, DOUBLE)], "float({0})"),
    **dict.fromkeys([(INTEGER, BOOLEAN), (BIGINT, BOOLEAN)], "{0} != 0"),
    (BOOLEAN, BIGINT): "int({0})",
    (DOUBLE, BIGINT): "overflow() if {0} != {0} else " + checked("round({0})"),
}
OPTIONS: dict[type[exp.Expr], set[str]] = {
    exp.Anonymous: {"expressions"}, exp.AtTimeZone: {"zone"}, exp.Between: {"low", "high"},
    exp.Case: {"ifs", "default"}, exp.Cast: {"to"}, exp.Coalesce: {"expressions"}, exp.DPipe: {"safe"},
    exp.DateDiff: {"unit", "date_part_boundary"}, exp.Div: {"typed", "safe"}, exp.In: {"expressions"},
    exp.Greatest: {"expressions", "ignore_nulls"}, exp.Least: {"expressions", "ignore_nulls"},
    exp.Literal: {"is_string"}, exp.TimestampTrunc: {"unit"},
}  # fmt: skip
"""What is understood of a node besides its operands."""
