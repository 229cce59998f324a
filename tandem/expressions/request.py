"""Reading `request.sql`: one `select`, and the name, comment, text and code of each of its expressions."""

from collections.abc import Mapping
from re import ASCII, fullmatch

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from tandem.errors import ExpressionError
from tandem.expressions import Expression
from tandem.expressions.emitter import Emitter
from tandem.expressions.semantics import DECIMAL, INTEGER, NULL, Type

SHAPE = "the request's SQL is one `select ... from request` and nothing else"


def read(sql: str, columns: Mapping[str, Type]) -> tuple[tuple[Expression, ...], Mapping[str, object]]:
    """Return the query's expressions, and the constants that their code names."""
    emitter = Emitter(columns)
    try:
        found = tuple(_expression(emitter, node) for node in _select(sql).expressions)
    except SqlglotError as exc:
        message = f"the request's SQL cannot be parsed: {str(exc).splitlines()[0]}"
        raise ExpressionError(message) from exc
    except (RecursionError, MemoryError, SyntaxError) as exc:
        message = f"{emitter.name}: it is nested too deep: compute a part of it in a view"
        raise ExpressionError(message) from exc
    names = [expression.name.lower() for expression in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"two expressions have one name: {', '.join(twice)}"
        raise ExpressionError(message)
    return found, emitter.constants


def _select(sql: str) -> exp.Select:
    """Parse one plain select."""
    statements = sqlglot.parse(sql, dialect="duckdb")
    select = statements[0]
    if len(statements) != 1 or not isinstance(select, exp.Select):
        raise ExpressionError(SHAPE)
    source = select.args.get("from_")
    plain = isinstance(source, exp.From) and source.this == exp.Table(this=exp.to_identifier("request"))
    if not plain or any(value for key, value in select.args.items() if key not in ("expressions", "from_")):
        raise ExpressionError(SHAPE)
    return select


def _expression(emitter: Emitter, node: exp.Expr) -> Expression:
    name, body = node.alias_or_name, node.unalias()
    text = node.sql(dialect="duckdb", comments=False)
    if not fullmatch(r"[A-Za-z_]\w*", name, ASCII) or isinstance(body, exp.Star):
        message = f"`{text}` has no plain name: write `... as name`"
        raise ExpressionError(message)
    emitter.name = name
    code = emitter.emit(body)
    compile(code.text, "<request.sql>", "eval")  # or it is nested too deep
    if name in emitter.columns and not (isinstance(body, exp.Column) and body.name == name):
        emitter.refuse(node, "its name is a column's: give it another one")
    if code.kind in (DECIMAL, NULL):
        emitter.refuse(body, f"its type is {code.kind}: write `(...)::double`")
    type_ = Type.BIGINT if code.kind == INTEGER else Type(code.kind)
    comments = [comment.strip() for part in (node, body) for comment in part.comments or ()]
    reads = tuple(sorted({column.name for column in body.find_all(exp.Column)}))
    return Expression(name, comments[-1] if comments else "", type_, reads, text, code.text)
