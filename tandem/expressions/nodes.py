"""Python syntax trees with SQL's NULL in them.

Trees are filled into templates, which are this package's own text; nothing of a bundle is ever text of a program.
"""

import ast
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, cast

from tandem.expressions.kinds import NULL, Kind
from tandem.expressions.semantics import double_of_decimal

Constant = str | float | bool | int | frozenset[object] | None


class _Fill(ast.NodeTransformer):
    def __init__(self, nodes: dict[str, ast.expr]) -> None:
        self.nodes = nodes

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.nodes.get(node.id, node)


def fill(template: str, **nodes: ast.expr) -> ast.expr:
    """Return a template's tree with its names replaced by trees."""
    filled: ast.expr = _Fill(nodes).visit(ast.parse(template, mode="eval").body)
    return filled


def constant(value: Constant) -> ast.expr:
    """Return the node of a value."""
    return ast.Constant(cast("str", value))  # frozensets are constants too, which its signature does not say


@dataclass(frozen=True, slots=True)
class Code:
    """An expression: `value`, which is not None once every guard was found false; NULL where one is true."""

    kind: Kind
    value: ast.expr
    guards: tuple[ast.expr, ...] = ()
    raises: bool = False
    whole: ast.expr | None = None

    @property
    def node(self) -> ast.expr:
        """One tree that is None where SQL has NULL."""
        if self.whole is not None or not self.guards:
            return self.whole or self.value
        return ast.IfExp(self.is_null, constant(None), self.value)

    @property
    def is_null(self) -> ast.expr:
        """A tree that is true where SQL has NULL."""
        return self.guards[0] if len(self.guards) == 1 else ast.BoolOp(ast.Or(), list(self.guards))

    @property
    def is_simple(self) -> bool:
        """Whether the value may be written twice."""
        return isinstance(self.value, ast.Name | ast.Constant)

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every row, and not NULL."""
        return isinstance(self.value, ast.Constant) and not self.guards

    @property
    def is_null_literal(self) -> bool:
        """Whether it is NULL for every row."""
        return isinstance(self.value, ast.Constant) and self.value.value is None

    @property
    def constant(self) -> Any:  # noqa: ANN401 - the type is the kind's
        """The value that it is for every row, or None."""
        return self.value.value if self.is_constant and isinstance(self.value, ast.Constant) else None

    def of(self, kind: Kind) -> "Code":
        """Return the same under another kind."""
        return replace(self, kind=kind)


def literal(kind: Kind, value: Constant) -> Code:
    """Return a constant, or NULL of a kind."""
    node = constant(value)
    return Code(kind, node, (constant(value=True),), whole=node) if value is None else Code(kind, node)


def column(kind: Kind, name: str) -> Code:
    """Return a column's local variable, which may be None."""
    node = ast.Name(name, ast.Load())
    return Code(kind, node, (fill("x is None", x=node),), whole=node)


class Builder:
    """Puts trees together, with a new local variable for each value that is needed twice."""

    def __init__(self) -> None:
        """Count variables from 0."""
        self._numbers = count()

    def _name(self) -> str:
        return f"t{next(self._numbers)}"

    def bind(self, node: ast.expr) -> tuple[ast.Name, ast.expr]:
        """Return a variable, and the tree that assigns it."""
        name = self._name()
        return ast.Name(name, ast.Load()), ast.NamedExpr(ast.Name(name, ast.Store()), node)

    def nullable(self, kind: Kind, node: ast.expr, *, raises: bool = False) -> Code:
        """Return the code of a tree that may be None."""
        name, assigned = self.bind(node)
        return Code(kind, name, (fill("x is None", x=assigned),), raises, whole=node)

    def strict(self, kind: Kind, template: str, *, raises: bool = False, **arguments: Code) -> Code:
        """Return what is NULL if an argument is, and otherwise the template.

        An argument that may raise is evaluated even where another one is NULL, as DuckDB does.
        """
        codes = arguments.values()
        together = any(a.raises and any(b.guards for b in codes if b is not a) for a in codes)
        repeated = {name for name, times in _names_in(template).items() if times > 1}
        guards: list[ast.expr] = []
        nodes = {}
        for name, code in arguments.items():
            nodes[name] = code.value
            if code.is_constant:
                continue
            if together or (name in repeated and not code.is_simple):
                nodes[name], assigned = self.bind(code.node)
                guards.append(fill("x is None", x=assigned))
            else:
                guards.extend(code.guards)
        raises = raises or any(code.raises for code in codes)
        distinct = tuple({ast.dump(guard): guard for guard in guards}.values())
        return Code(kind, fill(template, **nodes), (_all_of(distinct),) if together else distinct, raises)

    def integer(self, kind: Kind, formula: str, **arguments: Code) -> Code:
        """Return an integer of a kind, which raises where the kind cannot hold it."""
        name = self._name()
        checked = f"{name} if {kind.low} <= ({name} := {formula}) <= {kind.high} else overflow()"
        return self.strict(kind, checked, raises=True, **arguments)

    def let(self, *codes: Code) -> tuple[list[ast.expr], list[Code]]:
        """Return assignments to evaluate first, and codes that may then be used any number of times."""
        assignments, bound = [], []
        for code in codes:
            if code.is_constant or (code.is_simple and code.whole is code.value):
                bound.append(code)
                continue
            name, assigned = self.bind(code.node)
            assignments.append(assigned)
            guards = (fill("x is None", x=name),) if code.guards else ()
            bound.append(Code(code.kind, name, guards, raises=False, whole=name))
        return assignments, bound

    def after(self, assignments: Iterable[ast.expr], code: Code, *, raises: bool) -> Code:
        """Return a code that is evaluated after assignments: a tuple that is not empty is true."""
        first = list(assignments)
        if not first:
            return code
        node = ast.IfExp(ast.Tuple(first, ast.Load()), code.node, constant(None))
        raises = raises or code.raises
        return self.nullable(code.kind, node, raises=raises) if code.guards else Code(code.kind, node, raises=raises)


def _names_in(template: str) -> Counter[str]:
    return Counter(node.id for node in ast.walk(ast.parse(template, mode="eval")) if isinstance(node, ast.Name))


def _all_of(guards: tuple[ast.expr, ...]) -> ast.expr:
    """Return the `or` of guards that are all evaluated."""
    first, *rest = guards
    for guard in rest:
        first = ast.BinOp(first, ast.BitOr(), guard)
    return first


def converted(builder: Builder, code: Code, kind: Kind) -> Code:
    """Convert as DuckDB does before it compares or computes: to a wider integer or decimal, or to a double."""
    power = 10 ** abs(kind.scale - code.kind.scale)
    if code.kind in (kind, NULL) or (code.kind.is_integer and kind.is_integer):
        return code.of(kind)
    if kind.is_decimal:
        return builder.strict(kind, f"x * {power}", x=code) if power > 1 else code.of(kind)
    if code.is_constant:
        of_decimal = code.kind.is_decimal
        number = double_of_decimal(code.constant, power, code.kind.is_narrow) if of_decimal else float(code.constant)
        return literal(kind, number)
    if code.kind.is_decimal:
        return builder.strict(kind, f"double_of_decimal(x, {power}, {code.kind.is_narrow})", x=code)
    return builder.strict(kind, "float(x)", x=code)
