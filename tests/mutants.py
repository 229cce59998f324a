"""Mutants: the text of a file changed in one place, by cosmic-ray's operators and some of our own."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from parso.tree import NodeOrLeaf

COMPARISONS = "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"
BINARIES = "Add_Sub Sub_Add Mul_Div FloorDiv_Mul Mod_Mul BitOr_BitAnd BitAnd_BitOr"
UNARIES = "Delete_Not Delete_Invert USub_UAdd"
OTHERS = (
    "AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue "
    "ReplaceContinueWithBreak ExceptionReplacer NumberReplacer RemoveDecorator ZeroIterationForLoop"
)
NAMES = [
    *(f"ReplaceComparisonOperator_{name}" for name in COMPARISONS.split()),
    *(f"ReplaceBinaryOperator_{name}" for name in BINARIES.split()),
    *(f"ReplaceUnaryOperator_{name}" for name in UNARIES.split()),
    *OTHERS.split(),
]
"""Of each comparison its opposite and its edge; cosmic-ray has it by every other, and most of those die of nothing."""

SQL = {
    r"(?<= )< ": "<= ",
    r"(?<= )> ": ">= ",
    r">= ": "> ",
    r"(?<= )\+ (?=interval|clock|to_minutes)": "- ",
    r"(?<= )- (?=interval)": "+ ",
    r"\bgreatest\(": "least(",
    r"\bis not null": "is null",
    r"\bis null": "is not null",
    r"\bsame_day > there": "same_day < there",
    r"\binterval 1 day": "interval 2 day",
    r"\binterval 1 hour": "interval 0 hour",
    r"\binterval 24 hour": "interval 23 hour",
    r"\binterval 28 day": "interval 27 day",
    r"\bleft join\b": "join",
    r"\bunion all\b": "union",
    r"// 100 \* 60": "* 60",
    r"% 100": "% 60",
    r"\bbit_xor\(": "max(",
    r"(\w+)_at as known_at": "event_at as known_at",
}
"""What is changed in SQL, in a file of its own or in Python."""
TOLD = re.compile(r"\bmsg = |description=|logging|getLogger|noqa: PLR2004|^@step")
"""Lines that only tell something to people or to Prefect."""

Chosen = Callable[[set[str]], bool]
"""Says whether a place is meant, by the names of the functions and classes that it stands in."""


@dataclass(frozen=True)
class Mutant:
    """A file as it would be with one change in it."""

    path: str
    was: str
    now: str
    text: str

    @property
    def name(self) -> str:
        """What is the same wherever in the file it stands."""
        return f"{self.path}: {self.was} -> {self.now}"


def _own(node: NodeOrLeaf) -> Iterator[str]:
    """Give what a node could be instead, where cosmic-ray has no operator for it."""
    code = node.get_code(include_prefix=False)
    if node.type in ("string", "fstring_string"):
        yield from _sql(code)
    if node.type == "string" and node.parent.type != "simple_stmt":  # no docstring
        yield re.sub(r"^(\w*(\"\"\"|\"|'))", r"\1XX", code)
    if node.type in ("keyword", "comp_op") and node.parent.type == "comparison" and code in ("in", "not in"):
        yield "in" if code == "not in" else "not in"
    if node.parent is not None and node.parent.type == "simple_stmt":  # what is done for its effect is not done
        added = node.type == "expr_stmt" and node.children[1].get_code().strip() in ("+=", "|=")
        if added or node.type in ("atom_expr", "raise_stmt", "yield_expr"):
            yield "pass"


def mutants_of(path: Path, root: Path, chosen: Chosen = lambda _: True) -> Iterator[Mutant]:
    """Give the mutants of a file, or of places in some functions and classes; each text once."""
    name, text = path.relative_to(root).as_posix(), path.read_text()
    seen = {text}
    found = _sql(text) if path.suffix == ".sql" else _python(text, chosen)
    for mutated in found:
        if mutated not in seen and (path.suffix == ".sql" or _is_python(mutated)):
            seen.add(mutated)
            was, now = next(pair for pair in zip(_lines(text), _lines(mutated), strict=False) if pair[0] != pair[1])
            if not TOLD.search(was):
                yield Mutant(name, was, now, mutated)


def _is_python(text: str) -> bool:
    try:
        compile(text, "", "exec")
    except SyntaxError:
        return False
    return True


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _python(text: str, chosen: Chosen) -> Iterator[str]:
    tree = get_ast(text)
    nodes = [node for node in ast_nodes(tree) if isinstance(node, NodeOrLeaf)]
    for operator in (get_operator(f"core/{name}")() for name in NAMES):
        places = [node for node in nodes for _ in operator.mutation_positions(node)]
        yield from (mutate_code(text, operator, n) for n, node in enumerate(places) if _counts(node, chosen))
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    for node in nodes:
        start, end = (starts[line - 1] + column for line, column in (node.start_pos, node.end_pos))
        if _counts(node, chosen):
            yield from (text[:start] + now + text[end:] for now in _own(node))


def _sql(text: str) -> Iterator[str]:
    for pattern, now in SQL.items():
        for found in re.finditer(pattern, text):
            start = text.rfind("\n", 0, found.start()) + 1
            if "--" not in text[start : found.start()]:
                yield text[: found.start()] + now + text[found.end() :]


def _counts(node: NodeOrLeaf, chosen: Chosen) -> bool:
    """Tell whether it is code that runs, and asked for; annotations are judged by mypy."""
    names, child = set[str](), node
    while (parent := child.parent) is not None:
        if parent.type in ("funcdef", "classdef"):
            names.add(parent.name.value)
        told = {"annassign": 1, "tfpdef": 2}.get(parent.type)
        if (told and child is parent.children[told]) or (parent.type == "funcdef" and child is parent.annotation):
            return False
        if parent.type == "atom_expr" and parent.children[0].get_code().strip() == "Literal":
            return False
        child = parent
    return chosen(names)
