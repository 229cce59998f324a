"""Reading `request.sql`: one `select`, and the name, comment, text and code of each of its expressions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from re import ASCII, fullmatch

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import TokenType

from tandem.errors import ExpressionError
from tandem.expressions import functions, operators
from tandem.expressions.emitter import Emitter
from tandem.expressions.kinds import Type
from tandem.expressions.nodes import Code

__all__ = ["Column", "functions", "operators", "read"]  # the middle two register what they emit

SHAPE = "the request's SQL is one `select ... from request` and nothing else"
OPENING = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE}
CLOSING = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the query."""

    name: str
    comment: str
    text: str
    reads: tuple[str, ...]
    code: Code
    type: Type


def read(sql: str, columns: Mapping[str, Type]) -> tuple[list[Column], Mapping[str, object]]:
    """Return the query's columns, and the functions to local time that they call."""
    emitter = Emitter(columns)
    try:
        select = _select(sql)
        found = [_column(emitter, node, text) for node, text in zip(select.expressions, _texts(sql), strict=True)]
    except SqlglotError as exc:
        message = f"the request's SQL cannot be parsed: {str(exc).splitlines()[0]}"
        raise ExpressionError(message) from exc
    except RecursionError as exc:
        message = "the request's SQL is nested too deep"
        raise ExpressionError(message) from exc
    names = [column.name.lower() for column in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        message = f"two expressions have one name: {', '.join(twice)}"
        raise ExpressionError(message)
    return found, emitter.zones


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


def _texts(sql: str) -> Iterator[str]:
    """Yield the text of each expression, with its name: what stands between commas outside of brackets."""
    tokens = [token for token in sqlglot.tokenize(sql, dialect="duckdb") if token.token_type != TokenType.SEMICOLON]
    depth, begun, last = 0, None, tokens[0]
    for token in tokens[1:-2]:
        depth += (token.token_type in OPENING) - (token.token_type in CLOSING)
        if token.token_type == TokenType.COMMA and depth == 0:
            yield sql[begun.start : last.end + 1] if begun else ""
            begun = None
            continue
        begun, last = begun or token, token
    if begun:
        yield sql[begun.start : last.end + 1]


def _column(emitter: Emitter, node: exp.Expr, text: str) -> Column:
    name, body = node.alias_or_name, node.unalias()
    if not fullmatch(r"[A-Za-z_]\w*", name, ASCII) or isinstance(body, exp.Star):
        message = f"`{text}` has no plain name: write `... as name`"
        raise ExpressionError(message)
    code = emitter.expression(name, body)
    if name in emitter.columns and not (isinstance(body, exp.Column) and body.name == name):
        emitter.refuse(node, "its name is a column's: give it another one")
    if code.kind.type is None:
        emitter.refuse(body, f"its type is {code.kind}: write `(...)::double`")
    comments = [comment.strip() for part in (node, body) for comment in part.comments or ()]
    reads = tuple(sorted({column.name for column in body.find_all(exp.Column)}))
    return Column(name, comments[-1] if comments else "", text, reads, code, code.kind.type)
