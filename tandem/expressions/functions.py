"""Functions of numbers, strings and time, and casts."""

from datetime import UTC, datetime
from re import fullmatch

from sqlglot import exp

from tandem.expressions.emitter import Emitter, on
from tandem.expressions.kinds import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    NULL,
    TIMESTAMP,
    VARCHAR,
    Kind,
    decimal,
)  # fmt: skip
from tandem.expressions.nodes import Code, converted, literal
from tandem.expressions.semantics import DAY, EPOCH, HOUR, MINUTE, SECOND

PARTS = {
    "year": f"date_of(x // {DAY})[0]",
    "month": f"date_of(x // {DAY})[1]",
    "day": f"date_of(x // {DAY})[2]",
    "dayofyear": f"date_of(x // {DAY})[3]",
    "dayofweek": f"(x // {DAY} + 4) % 7",
    "isodow": f"(x // {DAY} + 3) % 7 + 1",
    "hour": f"x // {HOUR} % 24",
    "minute": f"x // {MINUTE} % 60",
    "second": f"x // {SECOND} % 60",
}
ALIASES = {"dow": "dayofweek", "weekday": "dayofweek", "doy": "dayofyear", "dayofmonth": "day"}
PART_NODES: dict[type[exp.Expr], str] = {
    exp.Year: "year", exp.Month: "month", exp.Day: "day", exp.DayOfMonth: "day", exp.DayOfYear: "dayofyear",
    exp.DayOfWeek: "dayofweek", exp.DayOfWeekIso: "isodow", exp.Hour: "hour", exp.Minute: "minute",
    exp.Second: "second",
}  # fmt: skip
UNITS = {"second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
TARGETS = {
    exp.DType.BIGINT: BIGINT, exp.DType.INT: INTEGER, exp.DType.DOUBLE: DOUBLE, exp.DType.BOOLEAN: BOOLEAN,
    exp.DType.TEXT: VARCHAR, exp.DType.TIMESTAMP: TIMESTAMP, exp.DType.TIMESTAMPNTZ: TIMESTAMP,
}  # fmt: skip
MOST_DIGITS = 15


@on(exp.Abs)
def _abs(emitter: Emitter, node: exp.Abs) -> Code:
    code = emitter.number(node.this)
    if code.kind.is_integer:
        return emitter.builder.integer(code.kind, "abs(x)", x=code)
    return emitter.builder.strict(code.kind, "abs(x)", x=code)


@on(exp.Round, uses="this decimals")
def _round(emitter: Emitter, node: exp.Round) -> Code:
    code = emitter.number(node.this)
    if node.args.get("decimals"):
        return _rounded_at(emitter, node, code)
    if code.kind.is_integer:
        return code
    if code.kind.is_decimal:
        return _whole_decimal(emitter, code, "scaled_half_away(x, {power})")
    return emitter.builder.strict(DOUBLE, "round_half_away(x)", x=code)


def _rounded_at(emitter: Emitter, node: exp.Round, code: Code) -> Code:
    digits = emitter.emit(node.args["decimals"])
    places = digits.constant if digits.kind == INTEGER else None
    if not isinstance(places, int) or abs(places) > MOST_DIGITS:
        emitter.refuse(node, f"round to a literal number of digits, from -{MOST_DIGITS} to {MOST_DIGITS}")
    if code.kind != DOUBLE:
        emitter.refuse(node, f"it is of type {code.kind}: write `round(x::double, n)`")
    name = "round_after_point" if places >= 0 else "round_before_point"
    return emitter.builder.strict(DOUBLE, f"{name}(x, {float(10 ** abs(places))})", x=code)


@on(exp.Floor)
def _floor(emitter: Emitter, node: exp.Floor) -> Code:
    return _bounded(emitter, node.this, "floor(x)", "x // {power}")


@on(exp.Ceil)
def _ceil(emitter: Emitter, node: exp.Ceil) -> Code:
    return _bounded(emitter, node.this, "ceiling(x)", "-(-x // {power})")


def _bounded(emitter: Emitter, node: exp.Expr, of_double: str, of_decimal: str) -> Code:
    code = emitter.number(node)
    if code.kind.is_integer:
        return converted(emitter.builder, code, DOUBLE)
    if code.kind.is_decimal:
        return _whole_decimal(emitter, code, of_decimal)
    return emitter.builder.strict(DOUBLE, of_double, x=code)


def _whole_decimal(emitter: Emitter, code: Code, template: str) -> Code:
    power = 10**code.kind.scale
    return emitter.builder.strict(decimal(code.kind.digits, 0), template.format(power=power), x=code)


@on(exp.Sqrt)
def _sqrt(emitter: Emitter, node: exp.Sqrt) -> Code:
    return emitter.builder.strict(DOUBLE, "square_root(x)", x=emitter.double(node.this))


@on(exp.Length)
def _length(emitter: Emitter, node: exp.Length) -> Code:
    code = emitter.demand(emitter.emit(node.this), node.this, lambda kind: kind == VARCHAR, "pass a string")
    return emitter.builder.strict(BIGINT, "len(x)", x=code)


@on(exp.AtTimeZone, uses="this zone")
def _at_time_zone(emitter: Emitter, node: exp.AtTimeZone) -> Code:
    utc, zone = node.this, node.args["zone"]
    inside = isinstance(utc, exp.AtTimeZone) and utc.args["zone"].is_string and utc.args["zone"].name == "UTC"
    if not (inside and zone.is_string):
        emitter.refuse(node, "write `x at time zone 'UTC' at time zone 'America/New_York'`: UTC into local time")
    return emitter.builder.strict(TIMESTAMP, f"{emitter.zone(zone)}(x)", x=_moment(emitter, utc.this), raises=True)


def _moment(emitter: Emitter, node: exp.Expr) -> Code:
    return emitter.demand(emitter.emit(node), node, lambda kind: kind == TIMESTAMP, "pass a timestamp")


@on(*PART_NODES)
def _part(emitter: Emitter, node: exp.Func) -> Code:
    return emitter.builder.strict(BIGINT, PARTS[PART_NODES[type(node)]], x=_moment(emitter, node.this))


@on(exp.Extract, uses="this expression")
def _extract(emitter: Emitter, node: exp.Extract) -> Code:
    return _named_part(emitter, node, node.name, node.expression)


@on(exp.Anonymous, uses="this expressions")
def _anonymous(emitter: Emitter, node: exp.Anonymous) -> Code:
    """`date_part('hour', x)` and `weekday(x)`, which sqlglot does not name."""
    match node.name.lower(), node.expressions:
        case "date_part" | "datepart", [exp.Literal() as part, x] if part.is_string:
            return _named_part(emitter, node, part.name, x)
        case "weekday", [x]:
            return _named_part(emitter, node, "weekday", x)
        case _:
            return emitter.refuse(node, "this function is not known: compute it in a view")


def _named_part(emitter: Emitter, node: exp.Expr, name: str, x: exp.Expr) -> Code:
    part = ALIASES.get(name.lower(), name.lower())
    if part == "epoch":
        return _epoch(emitter, x)
    if part not in PARTS:
        emitter.refuse(node, f"the parts are {', '.join(PARTS)} and epoch")
    return emitter.builder.strict(BIGINT, PARTS[part], x=_moment(emitter, x))


@on(exp.TimeToUnix)
def _time_to_unix(emitter: Emitter, node: exp.TimeToUnix) -> Code:
    return _epoch(emitter, node.this)


def _epoch(emitter: Emitter, x: exp.Expr) -> Code:
    return emitter.builder.strict(DOUBLE, f"float(x) / {float(SECOND)}", x=_moment(emitter, x))


def _unit(emitter: Emitter, node: exp.Expr) -> int:
    """Return a unit's microseconds; DuckDB would take a column of that name for the unit."""
    name = node.text("unit").lower()
    if name not in UNITS or name in emitter.columns:
        emitter.refuse(node, f"the units are {', '.join(map(repr, UNITS))}, and no column is named so")
    return UNITS[name]


@on(exp.DateDiff, uses="this expression unit date_part_boundary")
def _date_diff(emitter: Emitter, node: exp.DateDiff) -> Code:
    unit = _unit(emitter, node)
    a, b = _moment(emitter, node.expression), _moment(emitter, node.this)
    return emitter.builder.strict(BIGINT, f"b // {unit} - a // {unit}", a=a, b=b)


@on(exp.TimestampTrunc, uses="this unit")
def _date_trunc(emitter: Emitter, node: exp.TimestampTrunc) -> Code:
    unit = _unit(emitter, node)
    return emitter.builder.strict(TIMESTAMP, f"x // {unit} * {unit}", x=_moment(emitter, node.this))


@on(exp.Cast, exp.TryCast, uses="this to safe")
def _cast(emitter: Emitter, node: exp.Cast) -> Code:
    target = TARGETS.get(node.to.this)
    if target is None or node.to.expressions:
        emitter.refuse(node, "cast to bigint, double, boolean, varchar or timestamp")
    if isinstance(node.this, exp.Null):
        return literal(target, None)
    code = emitter.emit(node.this)
    if target == TIMESTAMP and isinstance(node.this, exp.Literal):
        return _timestamp(emitter, node)
    if code.kind == target or (code.kind == INTEGER and target == BIGINT):
        return code.of(target)
    return _converted(emitter, node, code, target)


def _timestamp(emitter: Emitter, node: exp.Cast) -> Code:
    text = node.this.name
    if not fullmatch(r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d(\.\d{6})?)?", text):
        emitter.refuse(node, "write timestamp '2024-01-31' or timestamp '2024-01-31 23:59:59'")
    try:
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH
    except ValueError:
        emitter.refuse(node, "there is no such date")
    return literal(TIMESTAMP, (moment.days * 86400 + moment.seconds) * SECOND + moment.microseconds)


def _converted(emitter: Emitter, node: exp.Cast, code: Code, target: Kind) -> Code:
    kind = code.kind
    if target == DOUBLE and (kind.is_number or kind == BOOLEAN):
        return converted(emitter.builder, code, DOUBLE)
    if target == BOOLEAN and kind.is_integer:
        return emitter.builder.strict(BOOLEAN, "x != 0", x=code)
    if target.is_integer and kind == BOOLEAN:
        return emitter.builder.strict(target, "int(x)", x=code)
    if target.is_integer and kind.is_number:
        return _to_integer(emitter, code, target, tries=isinstance(node, exp.TryCast))
    return emitter.refuse(node, f"a {kind if kind != NULL else 'value'} is not cast to {target}: compute it in a view")


def _to_integer(emitter: Emitter, code: Code, target: Kind, *, tries: bool) -> Code:
    function, power = "integer_of_double", ""
    if code.kind != DOUBLE:
        function, power = "integer_of_decimal", f", {10**code.kind.scale}"
    bounds = f"x{power}, {target.low}, {target.high}"
    if not tries:
        return emitter.builder.strict(target, f"{function}({bounds})", x=code, raises=True)
    tried = emitter.builder.strict(target, f"tried({function}, {bounds})", x=code)
    return emitter.builder.nullable(target, tried.node, raises=tried.raises)
