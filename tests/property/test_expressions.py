"""Random expressions over hostile columns: the compiled function and DuckDB agree to the bit, raising included.

Where DuckDB raises, so does the function, and where the function answers, so does DuckDB, but for its optimizer: that
rewrites `x + 1 > 2` to `x > 1`, which does not overflow, and computes parts of branches that are not taken, which may.
And in a batch where one argument of a function is NULL throughout it does not look at the next ones. So values are
compared with the optimizer on and off, and raising with it off; both ways for `plain` expressions, in which only the
outermost construct can make such a NULL.
"""

import math
import random
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tandem.errors import ExpressionError
from tandem.expressions import Expression, Expressions, Type

Row = tuple[object, ...]

REWRITING = "expression_rewriter,statistics_propagation,common_subexpressions,in_clause"
COLUMNS = {
    "i": Type.BIGINT, "j": Type.BIGINT, "small": Type.BIGINT, "x": Type.DOUBLE, "y": Type.DOUBLE, "p": Type.BOOLEAN,
    "q": Type.BOOLEAN, "s": Type.VARCHAR, "r": Type.VARCHAR, "t": Type.TIMESTAMP, "u": Type.TIMESTAMP,
}  # fmt: skip
NAMES_ONLY = re.compile(r"[^'\"\\{}]*")  # a program has no string, so none of the SQL
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
    *(63_593_070 * SECOND + more for more in (-1, 0, 30 * SECOND)),  # Monrovia's clock went on by 44 minutes 30 seconds
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


ROWS = st.lists(st.integers(0, 2**32).map(_row), min_size=10, max_size=30)

# What a kind may be written as: `<kind>` stands for an expression of that kind, `<number>` for one of any number's,
# and `<same>` for one of a kind that meets with the rule's own.
LEAVES = {
    "integer": [
        *("i", "j", "small", "small", "0", "1", "2", "3", "7", "-1", "-7", "60", "100"),
        *("2147483647", "-2147483648", "2147483648", "-2147483649", "9223372036854775807"),
    ],
    "literal": ["0.5", "0.1", "-0.3", "2.5", "1.25", "10.", ".75", "0.0", "-0.0", "12345678.9", "0.000001", "7", "-1"],
    "double": [
        *("x", "y", "x", "y", "x", "y", "0.1::double", "-0.3::double", "(-0.0)::double", "1e3", "-0.0::double", "-0e0"),
        *("2.5::double", "1e-5", "-1e300", "3::double", "0.00000000000001::double", "123456789.012345::double"),
    ],
    "boolean": ["p", "q", "p", "q", "true", "false"],
    "string": ["s", "r", "s", "r", "'a'", "''", "'B'", "'é'", "''''", "'t0'", "'{0}'", "'\\'"],
    "moment": ["t", "u"],
    "part": ["year", "month", "day", "hour", "minute", "second", "dayofweek", "isodow", "dayofyear"],
    "unit": ["second", "minute", "hour", "day"],
    "zone": ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Monrovia"],
    "operator": ["=", "<>", "<", "<=", ">", ">=", "==", "!="],
}
NULLS = {"integer": "null::bigint", "double": "null::double", "boolean": "null::boolean"}
RULES = {
    "integer": (
        "(<integer> + <integer>)", "(<integer> - <integer>)", "(<integer> * <integer>)", "(<integer> // <integer>)",
        "(<integer> % <integer>)", "(- <integer>)", "(<integer> // 7)", "(<integer> % 60)", "abs(<integer>)",
        "round(<integer>)", "(<double>)::bigint", "cast(<integer> as bigint)", "(<boolean>)::bigint",
        "length(<string>)", "<part>(<moment>)", "date_part('<part>', <moment>)",
        "date_diff('<unit>', <moment>, <moment>)",
    ),
    "double": (
        "(<double> + <number>)", "(<number> - <double>)", "(<double> * <number>)", "(<number> / <number>)",
        "(<double> + <literal>)", "(<literal> - <double>)", "(<double> * <literal>)", "(<number> / <literal>)",
        "(<double> / <double>)", "(- <double>)", "abs(<double>)", "round(<double>)",
        "floor(<double>)", "ceil(<double>)", "floor(<integer>)", "ceil(<integer>)", "(<number>)::double",
        "(<boolean>)::double",
    ),
    "boolean": (
        *("(<number> <operator> <number>)", "(<string> <operator> <string>)", "(<moment> <operator> <moment>)") * 2,
        *("(<boolean> and <boolean>)", "(<boolean> or <boolean>)", "(not <boolean>)") * 2,
        "(<boolean> <operator> <boolean>)", "(<number> between <number> and <number>)", "(<number> is null)",
        "(<double> <operator> <literal>)", "(<literal> <operator> <double>)", "(<double> between <literal> and <number>)",
        "(<moment> not between <moment> and <moment>)", "(<number> is distinct from <number>)", "(<string> is null)",
        "(<boolean> is not distinct from <boolean>)", "(<moment> is not null)", "(<string> in ('a', '', null))",
        "(<string> not in ('a', ''''))", "(<double> in (0, 2.5, -7))", "(<integer> not in (1, 2, null))",
        "(<integer> in (-1, 3, 7))", "(<integer>)::boolean", "(<string> is distinct from <string>)",
        "(<moment> is not distinct from <moment>)",
    ),
    "string": ("(<string> || <string>)", "(<string> || <string> || 'z')"),
    "moment": ("date_trunc('<unit>', <moment>)", "((<moment>) at time zone 'UTC' at time zone '<zone>')"),
}  # fmt: skip
CHOICES = (
    "(case when <boolean> then <own> else <same> end)", "(case when <boolean> then <own> when <boolean> then <own> end)",
    "(case when <boolean> and <boolean> or <boolean> then <own> end)", "nullif(<own>, <same>)", "coalesce(<own>, <same>)",
    "(case when <number> between <number> and <number> then <own> else <own> end)", "coalesce(<own>, <own>, <own>)",
    "(case <integer> when <integer> then <own> else null end)", "greatest(<own>, <same>)", "coalesce(<own>, null, <own>)",
    "(case <double> when <number> then <own> when 1 then <same> end)", "least(<own>, <own>, <same>)",
    "(case <string> when <string> then <own> when 'a' then <own> else <own> end)",
)  # fmt: skip
NUMBERS = ("integer", "double")


@dataclass
class Grammar:
    """Draws the text of an expression; `plain` ones have choices, and NULLs, outermost only."""

    draw: st.DrawFn
    plain: bool

    def pick(self, options: Sequence[str]) -> str:
        return self.draw(st.sampled_from(options))

    def text(self, kind: str, depth: int) -> str:
        if kind == "number":
            kind = self.pick(NUMBERS)
        rules = () if depth == 0 or kind not in RULES else RULES[kind]
        if depth and kind in RULES and not self.plain and self.pick("rrrc") == "c":
            rules = CHOICES
        if not rules or self.pick("lrr") == "l":
            return self.pick(LEAVES[kind] if self.plain else [*LEAVES[kind], NULLS.get(kind, LEAVES[kind][0])])
        return self.filled(self.pick(rules), kind, depth)

    def filled(self, rule: str, kind: str, depth: int) -> str:
        same = "number" if kind in NUMBERS else kind
        rule = rule.replace("<own>", f"<{kind}>").replace("<same>", f"<{same}>")
        return re.sub(r"<(\w+)>", lambda found: self.text(found[1], depth - 1), rule)


@st.composite
def expressions(draw: st.DrawFn, *, plain: bool, depth: int = 3) -> str:
    grammar = Grammar(draw, plain)
    kind = grammar.pick(list(RULES))
    return (
        grammar.filled(grammar.pick(CHOICES), kind, depth) if grammar.pick("rc") == "c" else grammar.text(kind, depth)
    )


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

    def answers(self, expression: Expression, text: str, rows: list[int]) -> list[object] | None:
        """The values of some rows, None if one of them raises."""
        shown = f"epoch_us(a.{expression.name})" if expression.type == Type.TIMESTAMP else f"a.{expression.name}"
        query = (
            f"select {shown}, typeof(a.{expression.name}) from (select {text} from request where n in $1 order by n) a"
        )
        try:
            found = self.connection.execute(query, [rows]).fetchall()
        except (duckdb.OutOfRangeException, duckdb.ConversionException, duckdb.InvalidInputException) as exc:
            if not re.search("verflow|range|by zero|to local TIMESTAMP|cast decimal", str(exc)):
                raise
            return None
        assert {type_.replace("INTEGER", "BIGINT") for _, type_ in found} <= {expression.type}
        return [bits(value) for value, _ in found]

    def rewriting(self, *, on: bool) -> None:
        """Let DuckDB's optimizer rewrite expressions, or not."""
        self.connection.execute("set disabled_optimizers = ?", ["" if on else REWRITING])


def online(function: Callable[[Row], Row], row: Row) -> object:
    try:
        (value,) = function(row)
    except ArithmeticError:
        return "raises"
    return bits(value)


def parse(text: str) -> Expressions | None:
    try:
        return Expressions.parse(f"select {text} as e from request", COLUMNS)
    except ExpressionError:
        return None


def check(texts: list[str], rows: list[Row], *, exactly: bool) -> None:
    parsed = [(text, found) for text in texts if (found := parse(text))]
    assume(parsed)
    duck = Duck(rows)
    for text, one in parsed:
        agree(duck, text, one, rows, raising=len(rows) if exactly else 0)


def agree(duck: Duck, text: str, one: Expressions, rows: list[Row], raising: int) -> None:
    """Compare values, and ask DuckDB about as many of the rows that raise."""
    (expression,) = one.expressions
    assert NAMES_ONLY.fullmatch(expression.code), expression.code
    function = one.compile(list(COLUMNS))
    ours = [online(function, row) for row in rows]
    answered = [n for n, value in enumerate(ours) if value != "raises"]
    raised = [n for n, value in enumerate(ours) if value == "raises"]
    for rewrites in (True, False) if answered else ():
        duck.rewriting(on=rewrites)
        for own in (f"{text} as e", expression.sql):
            values = duck.answers(expression, own, answered)
            if values is None and rewrites:  # then row by row, where it answers
                alone = [(n, duck.answers(expression, own, [n])) for n in answered]
                assert all(value in (None, [ours[n]]) for n, value in alone), own
            else:
                assert values == [ours[n] for n in answered], own
    duck.rewriting(on=False)
    for n in raised[:: max(1, len(raised) // raising)] if raising else ():
        assert duck.answers(expression, expression.sql, [n]) is None, (expression.sql, rows[n])


SETTINGS = settings(deadline=None, print_blob=True, suppress_health_check=list(HealthCheck))


@SETTINGS
@given(st.lists(expressions(plain=True), min_size=3, max_size=6), ROWS)
def test_the_compiled_function_answers_and_raises_as_duckdb_does(texts: list[str], rows: list[Row]) -> None:
    check(texts, rows, exactly=True)


@SETTINGS
@given(st.lists(expressions(plain=False), min_size=3, max_size=6), ROWS)
def test_nested_choices_answer_as_duckdb_does(texts: list[str], rows: list[Row]) -> None:
    check(texts, rows, exactly=False)


def _extremes(n: int) -> Row:
    """The nth of rows in which every extreme of a column meets every one of its neighbour."""
    values = {
        Type.BIGINT: (None, *INTEGERS), Type.DOUBLE: (None, *DOUBLES), Type.BOOLEAN: (None, True, False),
        Type.VARCHAR: (None, *STRINGS), Type.TIMESTAMP: (None, *MOMENTS),
    }  # fmt: skip
    second = {"j", "y", "q", "r", "u"}
    row = []
    for name, kind in COLUMNS.items():
        extremes = values[kind] if name != "small" else (None, *range(-9, 10))
        row.append(extremes[(n // len(extremes) if name in second else n) % len(extremes)])
    return tuple(row)


@pytest.fixture(scope="module")
def hostile() -> tuple[Duck, list[Row]]:
    rows = [*map(_extremes, range(700)), *map(_row, range(200))]
    return Duck(rows), rows


@pytest.mark.parametrize(("kind", "rule"), [(kind, rule) for kind in RULES for rule in (*RULES[kind], *CHOICES)])
def test_each_construct_answers_as_duckdb_does(kind: str, rule: str, hostile: tuple[Duck, list[Row]]) -> None:
    duck, rows = hostile
    chance = random.Random(rule)  # noqa: S311
    texts = {_filled(chance, rule, kind) for _ in range(16)}
    parsed = [(text, found) for text in sorted(texts) if (found := parse(text))]
    assert parsed, texts
    for text, one in parsed:
        agree(duck, text, one, rows, raising=8)


def _filled(chance: random.Random, rule: str, kind: str, depth: int = 1) -> str:
    """Fill a rule with leaves, and with other rules filled with leaves."""

    def part(own: str) -> str:
        if depth and own in RULES and RULES[own] and chance.random() < 0.4:
            return _filled(chance, chance.choice(RULES[own]), own, depth - 1)
        return chance.choice(LEAVES[own])

    own = rule.replace("<own>", f"<{kind}>").replace("<same>", f"<{'number' if kind in NUMBERS else kind}>")
    number = own.replace("<number>", f"<{chance.choice(NUMBERS)}>")
    return re.sub(r"<(\w+)>", lambda found: part(found[1]), number)


@pytest.mark.parametrize(
    "text",
    [
        "lower(s)", "sqrt(x)", "exp(x)", "random()", "now()", "sum(i)", "sum(i) over ()", "(select 1)", "i ** 2", "x % y",
        "round(x, 2)", "try_cast(x as bigint)", "i::integer", "i::decimal(9, 2)", "s::bigint", "x::boolean", "i * 0.5",
        "i > 0.5", "0.5", "null", "x = null", "s = i", "s + 1", "not i", "case when i then 1 end", "p is true",
        "i in (j, 1)", "i in (select 1)", "s like 'a%'", "s[1]", "unknown", "request.i", "hour(s)", "weekday(t)",
        "date_part('epoch', t)", "date_diff('month', t, u)", "date_trunc('week', t)", "t at time zone 'UTC'",
        "t at time zone 'UTC' at time zone 'Nowhere'", "t + interval 1 hour", "if(p, 1, 2)", "__import__('os')",
        "9223372036854775808", "0.1234567890123456", "i between symmetric 1 and 2", "-(1 + 2)", "{'a': 1}", "f(i)",
        "i" + " + 1" * 100,
    ],
)  # fmt: skip
def test_all_else_is_refused_by_the_name_of_the_expression(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"^e: "):
        Expressions.parse(f"select {text} as e from request", COLUMNS)


@pytest.mark.parametrize(
    "sql",
    [
        "select i from request where p", "select i as e from request; select 1", "select i as e from other", "delete from t",
        "select i as e from request limit 1", "select * from request", "select i + 1 from request", "select i as e, j as E from request", "select distinct i as e from request", "select (i as e from request",
    ],
)  # fmt: skip
def test_no_other_query_is_read(sql: str) -> None:
    with pytest.raises(ExpressionError):
        Expressions.parse(sql, COLUMNS)
