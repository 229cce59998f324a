"""Columns, literals, comparisons, logic, choice and arithmetic."""

import ast
from functools import reduce
from re import fullmatch

from sqlglot import exp

from tandem.expressions.emitter import Emitter, on
from tandem.expressions.kinds import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    TIMESTAMP,
    VARCHAR,
    WIDEST_DECIMAL,
    Kind,
    common,
    decimal,
)  # fmt: skip
from tandem.expressions.nodes import Code, constant, converted, fill, literal
from tandem.expressions.semantics import DAY, HOUR, MINUTE, SECOND

# How values are compared; then doubles, in DuckDB's order, where NaN equals itself and is above all, which Python's
# operators miss: two that are not known, one with a constant on its right, and on its left; no constant is NaN.
COMPARISONS: dict[type[exp.Expr], tuple[str, str, str, str]] = {
    exp.EQ: ("a == b", "a == b or (a != a and b != b)", "a == b", "a == b"),
    exp.NEQ: ("a != b", "a != b and (a == a or b == b)", "a != b", "a != b"),
    exp.LT: ("a < b", "a < b or (b != b and a == a)", "a < b", "not b <= a"),
    exp.LTE: ("a <= b", "a <= b or b != b", "a <= b", "not b < a"),
    exp.GT: ("a > b", "a > b or (a != a and b == b)", "not a <= b", "a > b"),
    exp.GTE: ("a >= b", "a >= b or a != a", "not a < b", "a >= b"),
}
INTERVALS = {"microsecond": 1, "millisecond": 1000, "second": SECOND, "minute": MINUTE, "hour": HOUR, "day": DAY}
SIGNS: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*"}


@on(exp.Paren)
def _paren(emitter: Emitter, node: exp.Paren) -> Code:
    return emitter.emit(node.this)


@on(exp.Column)
def _column(emitter: Emitter, node: exp.Column) -> Code:
    return emitter.columns.get(node.name) or emitter.refuse(node, "there is no such column, and no alias is one")


@on(exp.Boolean)
def _boolean(_: Emitter, node: exp.Boolean) -> Code:
    return literal(BOOLEAN, bool(node.this))


@on(exp.Literal, uses="this is_string")
def _literal(emitter: Emitter, node: exp.Literal) -> Code:
    text = str(node.this)
    if node.is_string:
        return literal(VARCHAR, text)
    digits = text.replace(".", "", 1)
    if fullmatch(r"\d+", text) and len(text) <= WIDEST_DECIMAL:
        value = int(text)
        if value > BIGINT.high:
            emitter.refuse(node, f"it is no BIGINT: write `{text}::double`")
        return literal(INTEGER if value <= INTEGER.high else BIGINT, value)
    if fullmatch(r"\d*\.\d*", text) and 0 < len(digits) <= WIDEST_DECIMAL:
        before, after = text.split(".")
        return literal(decimal(len(before), len(after)), int(digits))
    if fullmatch(r"\d*\.?\d*[eE][+-]?\d+", text):
        return literal(DOUBLE, float(text))
    return emitter.refuse(node, "it has too many digits: write it with an exponent, as a double")


@on(exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, uses="this expression")
def _comparison(emitter: Emitter, node: exp.Binary) -> Code:
    a, b = emitter.unified(node, [emitter.emit(node.this), emitter.emit(node.expression)])
    return compared(emitter, type(node), a, b)


def compared(emitter: Emitter, operator: type[exp.Expr], a: Code, b: Code) -> Code:
    """Compare two values of one kind."""
    plain, doubles, before_constant, after_constant = COMPARISONS[operator]
    if a.kind == DOUBLE:
        plain = before_constant if b.is_constant else after_constant if a.is_constant else doubles
    return emitter.builder.strict(BOOLEAN, plain, a=a, b=b)


@on(exp.NullSafeEQ, exp.NullSafeNEQ, uses="this expression")
def _distinct(emitter: Emitter, node: exp.Binary) -> Code:
    a, b = emitter.union(node, (node.this, node.expression))
    template = COMPARISONS[exp.EQ if isinstance(node, exp.NullSafeEQ) else exp.NEQ][a.kind == DOUBLE]
    assignments, bound = emitter.builder.let(a, b)
    left, right = (Code(code.kind, code.node) for code in bound)
    code = emitter.builder.strict(BOOLEAN, template, a=left, b=right)
    return emitter.builder.after(assignments, code, raises=a.raises or b.raises)


@on(exp.Is, uses="this expression")
def _is(emitter: Emitter, node: exp.Is) -> Code:
    if isinstance(node.expression, exp.Null):
        code = emitter.emit(node.this)
        if not (code.guards or code.raises):
            return literal(BOOLEAN, value=False)
        return Code(BOOLEAN, fill("x is None", x=code.node), raises=code.raises)
    if not isinstance(node.expression, exp.Boolean):
        emitter.refuse(node, "write `is null`, `is true` or `is false`")
    code = emitter.boolean(node.this)
    return Code(BOOLEAN, fill("x is y", x=code.node, y=ast.Constant(bool(node.expression.this))), raises=code.raises)


@on(exp.Not)
def _not(emitter: Emitter, node: exp.Not) -> Code:
    return emitter.builder.strict(BOOLEAN, "not x", x=emitter.boolean(node.this))


@on(exp.And, exp.Or, uses="this expression")
def _connected(emitter: Emitter, node: exp.And | exp.Or) -> Code:
    return _logic(emitter, emitter.boolean(node.this), emitter.boolean(node.expression), both=isinstance(node, exp.And))


def _logic(emitter: Emitter, a: Code, b: Code, *, both: bool) -> Code:
    """AND or OR with three values; as a value, unlike as a condition, both sides are evaluated."""
    raises = a.raises or b.raises
    if not (a.guards or b.guards):
        return Code(BOOLEAN, fill("a & b" if both else "a | b", a=a.value, b=b.value), raises=raises)
    assignments, (a, b) = emitter.builder.let(a, b)
    decides, else_ = (False, True) if both else (True, False)
    template = f"{decides} if a is {decides} or b is {decides} else None if a is None or b is None else {else_}"
    code = emitter.builder.nullable(BOOLEAN, fill(template, a=a.node, b=b.node))
    return emitter.builder.after(assignments, code, raises=raises)


@on(exp.Between, uses="this low high")
def _between(emitter: Emitter, node: exp.Between) -> Code:
    assignments, sides, raises = _sides(emitter, node)
    return emitter.builder.after(assignments, _logic(emitter, *sides, both=True), raises=raises)


def _sides(emitter: Emitter, node: exp.Between) -> tuple[list[ast.expr], tuple[Code, Code], bool]:
    """Return the two comparisons that BETWEEN is, and the assignments to evaluate before them."""
    x, low, high = emitter.union(node, (node.this, node.args["low"], node.args["high"]))
    assignments, (bound,) = emitter.builder.let(x)
    sides = compared(emitter, exp.GTE, bound, low), compared(emitter, exp.LTE, bound, high)
    return assignments, sides, x.raises


def condition(emitter: Emitter, node: exp.Expr) -> Code:
    """Emit the condition of a CASE: true or not, unknown being not; unlike in values, AND and OR stop early."""
    match node:
        case exp.Paren():
            return condition(emitter, node.this)
        case exp.And() | exp.Or():
            with emitter.deeper(node):
                return _either(node, condition(emitter, node.this), condition(emitter, node.expression))
        case exp.Between() if not node.args.get("symmetric"):
            with emitter.deeper(node):
                assignments, sides, raises = _sides(emitter, node)
            return emitter.builder.after(assignments, _either(node, *sides), raises=raises)
        case _:
            return emitter.boolean(node)


def _either(node: exp.Expr, a: Code, b: Code) -> Code:
    operator = ast.Or() if isinstance(node, exp.Or) else ast.And()
    return Code(BOOLEAN, ast.BoolOp(operator, [a.node, b.node]), raises=a.raises or b.raises)


@on(exp.In, uses="this expressions")
def _in(emitter: Emitter, node: exp.In) -> Code:
    x, *options = emitter.union(node, (node.this, *node.expressions))
    if not all(option.is_constant or option.is_null_literal for option in options):
        emitter.refuse(node, "list literals only, or write `x = a or x = b`")
    found = Code(x.kind, constant(frozenset(option.constant for option in options if option.is_constant)))
    if all(option.is_constant for option in options):
        return emitter.builder.strict(BOOLEAN, "x in found", x=x, found=found)
    listed = emitter.builder.strict(BOOLEAN, "x in found or None", x=x, found=found)
    return emitter.builder.nullable(BOOLEAN, listed.node, raises=listed.raises)


@on(exp.Case, uses="this ifs default")
def _case(emitter: Emitter, node: exp.Case) -> Code:
    assignments: list[ast.expr] = []
    raises = False
    if node.this:
        subject = emitter.emit(node.this)
        raises = subject.raises
        assignments, (subject,) = emitter.builder.let(subject)
        conditions = [
            compared(emitter, exp.EQ, *emitter.unified(node, [subject, emitter.emit(branch.this)]))
            for branch in node.args["ifs"]
        ]
    else:
        conditions = [condition(emitter, branch.this) for branch in node.args["ifs"]]
    default = node.args.get("default") or exp.Null()
    results = emitter.union(node, (*(branch.args["true"] for branch in node.args["ifs"]), default))
    return emitter.builder.after(assignments, _choice(emitter, conditions, results), raises=raises)


@on(exp.If, uses="this true false")
def _if(emitter: Emitter, node: exp.If) -> Code:
    results = emitter.union(node, (node.args["true"], node.args.get("false") or exp.Null()))
    return _choice(emitter, [condition(emitter, node.this)], results)


def _choice(emitter: Emitter, conditions: list[Code], results: list[Code]) -> Code:
    *chosen, otherwise = results
    branches = reversed(list(zip(conditions, chosen, strict=True)))
    chain = reduce(lambda rest, branch: ast.IfExp(branch[0].node, branch[1].node, rest), branches, otherwise.node)
    raises = any(code.raises for code in (*conditions, *results))
    if any(code.guards for code in results):
        return emitter.builder.nullable(otherwise.kind, chain, raises=raises)
    return Code(otherwise.kind, chain, raises=raises)


@on(exp.Coalesce, uses="this expressions")
def _coalesce(emitter: Emitter, node: exp.Coalesce) -> Code:
    *firsts, last = codes = emitter.union(node, (node.this, *node.expressions))
    chain = reduce(
        lambda rest, code: ast.IfExp(code.is_null, rest, code.value) if code.guards else code.node,
        reversed(firsts),
        last.node,
    )
    raises = any(code.raises for code in codes)
    if all(code.guards for code in codes):
        return emitter.builder.nullable(last.kind, chain, raises=raises)
    return Code(last.kind, chain, raises=raises)


@on(exp.Nullif, uses="this expression")
def _nullif(emitter: Emitter, node: exp.Nullif) -> Code:
    a, b = emitter.emit(node.this), emitter.emit(node.expression)
    assignments, (x,) = emitter.builder.let(a)
    equal = compared(emitter, exp.EQ, *emitter.unified(node, [x, b])).node
    code = emitter.builder.nullable(a.kind, ast.IfExp(equal, ast.Constant(None), x.node))
    return emitter.builder.after(assignments, code, raises=a.raises or b.raises)


@on(exp.Greatest, exp.Least, uses="this expressions ignore_nulls")
def _extreme(emitter: Emitter, node: exp.Greatest | exp.Least) -> Code:
    codes = emitter.union(node, (node.this, *node.expressions))
    name = ast.Name("greatest" if isinstance(node, exp.Greatest) else "least", ast.Load())
    call = ast.Call(name, [code.node for code in codes], [])
    raises = any(code.raises for code in codes)
    if all(code.guards for code in codes):
        return emitter.builder.nullable(codes[0].kind, call, raises=raises)
    return Code(codes[0].kind, call, raises=raises)


@on(exp.Add, exp.Sub, exp.Mul, uses="this expression")
def _arithmetic(emitter: Emitter, node: exp.Binary) -> Code:
    left, right = node.this, node.expression
    if isinstance(left, exp.Interval) and isinstance(node, exp.Add):
        left, right = right, left
    if isinstance(right, exp.Interval) and not isinstance(node, exp.Mul):
        return _shifted(emitter, left, right, SIGNS[type(node)])
    a, b = emitter.number(left), emitter.number(right)
    kind = _result(emitter, node, a.kind, b.kind)
    formula = f"a {SIGNS[type(node)]} b"
    if kind.is_integer:
        return emitter.builder.integer(kind, formula, a=a, b=b)
    if kind == DOUBLE or not isinstance(node, exp.Mul):
        a, b = (_scaled(emitter, code, kind) for code in (a, b))
    return emitter.builder.strict(kind, formula, a=a, b=b)


def _scaled(emitter: Emitter, code: Code, kind: Kind) -> Code:
    same = code.kind.is_decimal and kind.is_decimal and code.kind.scale == kind.scale
    return code if same else converted(emitter.builder, code, kind)


def _result(emitter: Emitter, node: exp.Binary, a: Kind, b: Kind) -> Kind:
    """Return the kind of a sum, difference or product; a decimal's is wide enough for every result."""
    with emitter.explained(node):
        if DOUBLE in (a, b) or not (a.is_decimal or b.is_decimal):
            return common((a, b))
        if isinstance(node, exp.Mul):
            return decimal(a.digits + b.digits - a.scale - b.scale, a.scale + b.scale)
        return decimal(max(a.digits - a.scale, b.digits - b.scale) + 1, max(a.scale, b.scale))
    raise AssertionError


def _shifted(emitter: Emitter, left: exp.Expr, interval: exp.Interval, sign: str) -> Code:
    amount, unit = interval.this, (interval.text("unit").lower()).removesuffix("s")
    days = 7 if unit == "week" else 1
    step = INTERVALS.get("day" if unit == "week" else unit)
    if not (isinstance(amount, exp.Literal) and fullmatch(r"-?\d{1,12}", amount.name) and step):
        emitter.refuse(interval, "write a whole number of weeks, days, hours, minutes, seconds or parts of them")
    wanted = "add intervals to timestamps"
    moment = emitter.demand(emitter.emit(left), left, lambda kind: kind == TIMESTAMP, wanted)
    return emitter.builder.strict(
        TIMESTAMP, f"timestamp(x {sign} {int(amount.name) * step * days})", x=moment, raises=True
    )


@on(exp.Div, uses="this expression typed safe")
def _division(emitter: Emitter, node: exp.Div) -> Code:
    a, b = emitter.double(node.this), emitter.double(node.expression)
    return emitter.builder.strict(DOUBLE, "a / b" if b.constant else "a / b if b else by_zero(a, b)", a=a, b=b)


@on(exp.IntDiv, exp.Mod, uses="this expression")
def _whole_division(emitter: Emitter, node: exp.IntDiv | exp.Mod) -> Code:
    a, b = emitter.number(node.this), emitter.number(node.expression)
    with emitter.explained(node):
        kind = common((a.kind, b.kind))
    if not kind.is_integer:
        if kind == DOUBLE and isinstance(node, exp.Mod):
            a, b = (converted(emitter.builder, code, DOUBLE) for code in (a, b))
            return emitter.builder.strict(DOUBLE, "float_remainder(a, b)", a=a, b=b)
        write = "`floor(a / b)`" if isinstance(node, exp.IntDiv) else "`a::double % b`"
        emitter.refuse(node, f"it is of type {kind}: write {write}")
    sign = "//" if isinstance(node, exp.IntDiv) else "%"
    if b.is_constant and b.constant > 0:
        return emitter.builder.strict(kind, f"a {sign} b if a >= 0 else -(-a {sign} b)", a=a, b=b)
    if sign == "//":
        return emitter.builder.integer(kind, "quotient(a, b)", a=a, b=b)
    return emitter.builder.strict(kind, f"remainder(a, b, {kind.low})", a=a, b=b, raises=True)


@on(exp.Neg)
def _negative(emitter: Emitter, node: exp.Neg) -> Code:
    code = emitter.number(node.this)
    if isinstance(node.this, exp.Literal):
        value = -code.constant
        return literal(INTEGER if code.kind == BIGINT and value >= INTEGER.low else code.kind, value)
    if not code.kind.is_integer:
        return emitter.builder.strict(code.kind, "-x", x=code)
    if not list(node.find_all(exp.Column)):
        emitter.refuse(node, "DuckDB widens a constant: write its value, or `0 - x`")
    return emitter.builder.integer(code.kind, "-x", x=code)
