"""Parses in a process of its own: sqlglot would stay in memory, and hold up who answers requests meanwhile.

Reads a query and the types of its columns, and writes what follows from them, both as MessagePack.
"""

import sys

import msgspec

from tandem.errors import ExpressionError
from tandem.expressions import Expressions, Type
from tandem.expressions.apart import Parsed, Query


def main() -> None:
    """Parse one query."""
    query = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Query)
    try:
        found = Expressions.parse(query.sql, {name: Type(kind) for name, kind in query.columns.items()})
    except ExpressionError as exc:
        sys.exit(str(exc))
    sys.stdout.buffer.write(msgspec.msgpack.encode(Parsed.of(found)))


if __name__ == "__main__":
    main()
