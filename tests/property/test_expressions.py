"""Random expressions over hostile columns: the compiled function and DuckDB agree to the bit, raising included.

Where DuckDB raises, so does the function, and where the function answers, so does DuckDB. The other way about, DuckDB
may pass over an overflow: its optimizer rewrites `x + 1 > 2` to `x > 1`, and in a batch where one argument of a
function is NULL throughout it does not look at the next ones. So raising is compared both ways with the rewriting off
and for `plain` expressions, in which only the outermost construct can make such a NULL.
"""

import math
import random
import struct
from collections.abc import Callable

import duckdb
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tandem.errors import ExpressionError
from tandem.expressions import Expression, Expressions, Type

Draw = Callable[[st.SearchStrategy[str]], str]
Row = tuple[object, ...]

REWRITING = "expression_rewriter,statistics_propagation,common_subexpressions"
COLUMNS = {
    "i": Type.BIGINT, "j": Type.BIGINT, "small": Type.BIGINT, "x": Type.DOUBLE, "y": Type.DOUBLE, "p": Type.BOOLEAN,
    "q": Type.BOOLEAN, "s": Type.VARCHAR, "r": Type.VARCHAR, "t": Type.TIMESTAMP, "u": Type.TIMESTAMP,
}  # fmt: skip
LOW, HIGH = -(2**63), 2**63 - 1
FIRST, LAST = -9_223_372_022_400_000_000, 2**63 - 2
SECOND = 10**6
INTEGERS = (0, 1, -1, 2, -7, 10, 2**31, -(2**31), 2**53, 2**53 + 1, -(2**53) - 1, 2**62, HIGH, HIGH - 1, LOW, LOW + 1)
DOUBLES = (
    0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999999999999994, 0.1, 1e15 + 0.5, 4503599627370497.5, 1e300, -1e300,
    5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9.223372036854775e18, 9.223372036854776e18,
    -9.223372036854775808e18, 2147483647.5, -2147483648.5, math.inf, -math.inf, math.nan,
)  # fmt: skip
STRINGS = ("", "a", "b", "B", "é", "e\u0301", "z\x00z", "\U0001f600", "'", "\\", '"', "\n", "\ufffd", "aa")
DST_2024 = (1710054000, 1730613600)  # in New York, in seconds
MOMENTS = (
    *(at * SECOND + more for at in DST_2024 for more in (-1, 0, 1, -3600 * SECOND, 3600 * SECOND)),
    0, -1, 1, 86_400 * SECOND, -86_400 * SECOND, -2_717_650_800 * SECOND, 951_782_400 * SECOND, 4_102_444_800 * SECOND,
    FIRST, FIRST + 1, LAST, LAST - 1, -62_135_596_800 * SECOND - 1, 253_402_300_800 * SECOND, 221_845_392_000 * SECOND,
)  # fmt: skip


def _value(chance: random.Random, name: str) -> object:
    if chance.random() < 0.15:
        return None
    extreme = chance.random() < 0.5
    match COLUMNS[name]:
        case Type.BIGINT if name == "small":
            return chance.randint(-30, 30)
        case Type.BIGINT:
            return chance.choice(INTEGERS) if extreme else chance.randint(-(10 ** chance.randint(1, 18)), 10**17)
        case Type.DOUBLE:
            shape = chance.uniform(-100, 100), chance.uniform(-1, 1) * 10.0 ** chance.randint(-300, 300)
            return chance.choice(DOUBLES if extreme else shape)
        case Type.BOOLEAN:
            return extreme
        case Type.VARCHAR:
            return chance.choice(STRINGS)
        case Type.TIMESTAMP:
            near, far = chance.randint(0, 2 * 10**15), chance.randint(FIRST, LAST)
            return chance.choice(MOMENTS) if extreme else chance.choice((near, near, far))


def _row(seed: int) -> Row:
    chance = random.Random(seed)  # noqa: S311 - not for secrets
    return tuple(_value(chance, name) for name in COLUMNS)


ROWS = st.lists(st.integers(0, 2**32).map(_row), min_size=1, max_size=30)
LITERALS = {
    "integer": ("0", "1", "2", "3", "7", "-1", "-7", "60", "100", "2147483647", "-2147483648", "2147483648"),
    "decimal": ("0.5", "0.1", "-0.3", "2.5", "1.25", "10.", ".75", "0.0", "-0.0", "12345678.9", "0.000001"),
    "double": ("0.1::double", "1e3", "-0.0::double", "2.5::double", "1e-5", "-1e300", "3::double", "null::double"),
    "boolean": ("true", "false", "null::boolean"),
    "string": ("'a'", "''", "'B'", "'é'", "''''", "null::varchar"),
    "moment": ("timestamp '2024-03-10 06:59:59.999999'", "timestamp '1969-12-31'", "null::timestamp"),
}
NAMES = {
    "integer": "i j small small",
    "double": "x y",
    "boolean": "p q",
    "string": "s r",
    "moment": "t u",
    "decimal": "",
}
KINDS = ("integer", "decimal", "double", "boolean", "string", "moment")
NUMBERS = ("integer", "integer", "double", "double", "decimal")
ZONES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/Puerto_Rico")
PARTS = ("year", "month", "day", "hour", "minute", "second", "dayofweek", "isodow", "dayofyear")


class Grammar:
    """Draws the text of an expression of a kind, with brackets wherever precedence could matter."""

    def __init__(self, draw: Draw, *, plain: bool) -> None:
        self.draw, self.plain = draw, plain

    def pick(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def any(self, kind: str, depth: int) -> str:
        if depth == 0 or self.pick("leaf", "", "", "") == "leaf":
            return self.leaf(kind)
        rule = "own" if self.plain else self.pick("own", "own", "own", "choice")
        return self.choice(kind, depth - 1) if rule == "choice" else self.own(kind, depth - 1)

    def own(self, kind: str, depth: int) -> str:
        text: str = getattr(self, kind)(depth)
        return text

    def leaf(self, kind: str) -> str:
        names = NAMES[kind].split()
        if names and self.pick("name", "name", "literal") == "name":
            return self.pick(*names)
        return self.pick(*(text for text in LITERALS[kind] if not (self.plain and text.startswith("null"))))

    def choice(self, kind: str, depth: int) -> str:
        def value(kind: str = kind) -> str:
            return self.any(kind, depth)

        condition, other = self.any("boolean", depth), self.pick(*NUMBERS) if kind in NUMBERS else kind
        return self.pick(
            f"(case when {condition} then {value()} else {value(other)} end)",
            f"(case when {condition} then {value()} when {value('boolean')} then {value()} end)",
            f"(case {value('integer')} when {value('integer')} then {value()} else null end)",
            f"(case {value('double')} when {value('decimal')} then {value()} when 1 then {value(other)} end)",
            f"coalesce({value()}, {value(other)})",
            f"coalesce({value()}, {value()}, {value()})",
            f"nullif({value()}, {value(other)})",
            f"greatest({value()}, {value(other)})",
            f"least({value()}, {value()}, {value(other)})",
            f"if({condition}, {value()}, {value(other)})",
        )

    def integer(self, depth: int) -> str:
        a, b, moment = self.any("integer", depth), self.any("integer", depth), self.any("moment", depth)
        number = self.any(self.pick(*NUMBERS), depth)
        part, unit = self.pick(*PARTS), self.pick("second", "minute", "hour", "day")
        return self.pick(
            f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"({a} // {b})", f"({a} % {b})", f"(- {a})", f"({a} // 7)",
            f"({a} % 60)", f"abs({a})", f"round({a})", f"({number})::bigint", f"cast({number} as integer)",
            f"try_cast({number} as bigint)", f"try_cast({number} as integer)", f"({self.any('boolean', depth)})::bigint",
            f"{part}({moment})", f"date_part('{part}', {moment})", f"extract({part} from {moment})",
            f"date_diff('{unit}', {moment}, {self.any('moment', depth)})", f"length({self.any('string', depth)})",
        )  # fmt: skip

    def double(self, depth: int) -> str:
        a, b = self.any("double", depth), self.any(self.pick(*NUMBERS), depth)
        number, digits = self.any(self.pick(*NUMBERS), depth), self.pick("0", "1", "2", "6", "-1", "-3")
        return self.pick(
            f"({a} + {b})", f"({b} - {a})", f"({a} * {b})", f"({b} / {number})", f"({a} / {b})", f"({a} % {b})",
            f"(- {a})", f"abs({a})", f"round({a})", f"round({a}, {digits})", f"floor({a})", f"ceil({a})",
            f"floor({self.any('integer', depth)})", f"sqrt({number})", f"({number})::double",
            f"({self.any('boolean', depth)})::double", f"epoch({self.any('moment', depth)})",
        )  # fmt: skip

    def decimal(self, depth: int) -> str:
        a, b = self.any("decimal", depth), self.any(self.pick("decimal", "integer"), depth)
        return self.pick(
            f"({a} + {b})", f"({b} - {a})", f"({a} * {b})", f"(- {a})", f"abs({a})", f"round({a})", f"floor({a})",
            f"ceil({a})",
        )  # fmt: skip

    def boolean(self, depth: int) -> str:
        kind = self.pick(*KINDS)
        a, b, c = (self.any(self.pick(*NUMBERS) if kind in NUMBERS else kind, depth) for _ in range(3))
        p, q = self.any("boolean", depth), self.any("boolean", depth)
        operator = self.pick("=", "<>", "<", "<=", ">", ">=", "==", "!=")
        literals = [text for text in LITERALS[kind if kind != "moment" else "string"] if "::" not in text]
        listed = ", ".join([self.pick(*literals), self.pick(*literals), self.pick("null", *literals)])
        among = self.any(kind if kind != "moment" else "string", depth)
        return self.pick(
            f"({a} {operator} {b})", f"({a} {operator} {b})", f"({p} and {q})", f"({p} or {q})", f"(not {p})",
            f"({a} is null)", f"({a} is not null)", f"({a} is distinct from {b})", f"({a} is not distinct from {b})",
            f"({a} between {b} and {c})", f"({a} not between {b} and {c})", f"({among} in ({listed}))",
            f"({among} not in ({listed}))", f"({p} is true)", f"({p} is not false)", f"({self.any('integer', depth)})::boolean",
        )  # fmt: skip

    def string(self, depth: int) -> str:
        return self.leaf("string") if self.plain else self.choice("string", depth)

    def moment(self, depth: int) -> str:
        a, zone = self.any("moment", depth), self.pick(*ZONES)
        return self.pick(
            f"({a} + interval 1 hour)", f"({a} - interval '90 minutes')", f"({a} + interval 3 day)", f"date_trunc('hour', {a})",
            f"(({a}) at time zone 'UTC' at time zone '{zone}')", f"date_trunc('day', {a})", f"({a} - interval 2 weeks)",
        )  # fmt: skip


@st.composite
def expressions(draw: st.DrawFn, *, plain: bool, depth: int = 3) -> str:
    grammar = Grammar(draw, plain=plain)
    kind = grammar.pick(*(kind for kind in KINDS if kind != "decimal"))
    return grammar.choice(kind, depth - 1) if grammar.pick("own", "choice") == "choice" else grammar.any(kind, depth)


def bits(value: object) -> object:
    """Tell apart what equality does not, and leave NaN equal to itself."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    return type(value).__name__, value


class Duck:
    """The rows in a table `request`, asked for one expression at a time."""

    def __init__(self, rows: list[Row]) -> None:
        self.connection = duckdb.connect()
        self.connection.execute("set threads = 1")
        texts = (
            f"make_timestamp(unnest(${n}::bigint[])) as {name}" if type_ == Type.TIMESTAMP
            else f"unnest(${n}::{type_}[]) as {name}"
            for n, (name, type_) in enumerate(COLUMNS.items(), start=2)
        )  # fmt: skip
        values = [list(range(len(rows))), *(list(column) for column in zip(*rows, strict=True))]
        self.connection.execute(f"create table request as select unnest($1::bigint[]) as n, {', '.join(texts)}", values)

    def answers(self, expression: Expression, rows: list[int]) -> list[object] | None:
        """The values of some rows, None if one of them raises."""
        shown = f"epoch_us(a.{expression.name})" if expression.type == Type.TIMESTAMP else f"a.{expression.name}"
        query = f"select {shown}, typeof(a.{expression.name}) from (select {expression.sql} from request where n in $1 order by n) a"
        try:
            found = self.connection.execute(query, [rows]).fetchall()
        except (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.InvalidInputException) as exc:
            assert any(
                word in str(exc) for word in ("verflow", "range", "by zero", "to local TIMESTAMP", "cast decimal")
            )
            return None
        assert {type_.replace("INTEGER", "BIGINT") for _, type_ in found} <= {expression.type}
        return [bits(value) for value, _ in found]

    def rewriting(self, *, on: bool) -> None:
        """Let DuckDB's optimizer rewrite expressions, or not."""
        self.connection.execute("set disabled_optimizers = ?", ["" if on else REWRITING])


def online(parsed: Expressions, row: Row) -> object:
    try:
        (value,) = parsed.compile(list(COLUMNS))(row)
    except ArithmeticError:
        return "raises"
    return bits(value)


def parse(text: str) -> Expressions | None:
    try:
        return Expressions.parse(f"select {text} as e from request", COLUMNS)
    except ExpressionError:
        return None


def check(texts: list[str], rows: list[Row], *, exactly: bool) -> None:
    parsed = [found for found in map(parse, texts) if found]
    assume(parsed)
    duck = Duck(rows)
    for one in parsed:
        (expression,) = one.expressions
        ours = [online(one, row) for row in rows]
        answered = [n for n, value in enumerate(ours) if value != "raises"]
        for rewrites in (True, False):
            duck.rewriting(on=rewrites)
            assert duck.answers(expression, answered) == [ours[n] for n in answered], expression.sql
        for n in range(len(rows)):
            if exactly and ours[n] == "raises":
                assert duck.answers(expression, [n]) is None, (expression.sql, rows[n])


SETTINGS = settings(deadline=None, max_examples=70, print_blob=True, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(st.lists(expressions(plain=True), min_size=3, max_size=6), ROWS)
def test_the_compiled_function_answers_and_raises_as_duckdb_does(texts: list[str], rows: list[Row]) -> None:
    check(texts, rows, exactly=True)


@SETTINGS
@given(st.lists(expressions(plain=False), min_size=3, max_size=6), ROWS)
def test_nested_choices_answer_as_duckdb_does(texts: list[str], rows: list[Row]) -> None:
    check(texts, rows, exactly=False)
