"""The model card's form: Markdown with sections that each say something, and tables that each have rows."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tandem.errors import ProblemError
from tandem.problem import Problem

CARD = "card.md"
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Intended use": (),
    "Data": ("source", "part", "outcome"),
    "Figures": ("figure",),
    "By month": ("month",),
    "By slice": ("slice",),
    "Baselines": ("model",),
    "Calibration": ("from",),
    "Costs": ("acting", "requests"),
    "Fairness": ("slice",),
    "Gates": ("gate",),
    "Limits": (),
    "Rebuild": ("input",),
}
"""The sections in their order, each with its tables by the name of their first column."""
WRITTEN = ("Intended use", "Data", "Fairness", "Limits")
"""What no stage can tell: the problem's own card.md says it."""

HEADING = re.compile(r"^## +(.+?) *$", re.MULTILINE)
TABLE = re.compile(r"^\| (.+?) \|.*\n\|[ :|-]+$((?:\n\|.*)*)", re.MULTILINE)
UNDONE = re.compile(r"\b(TODO|TBD|FIXME|XXX)\b")


def sections(text: str) -> dict[str, str]:
    """Split Markdown at its headings of the second rank."""
    _, *parts = HEADING.split(text)
    return {title: body.strip() for title, body in zip(parts[::2], parts[1::2], strict=True)}


def _unsaid(title: str, text: str) -> Iterator[str]:
    if not TABLE.sub("", text).strip():
        yield f"{title}: says nothing"
    for word in sorted(set(UNDONE.findall(text))):
        yield f"{title}: still says {word}"


def _misplaced(text: str, known: Sequence[str]) -> Iterator[str]:
    there = Counter(HEADING.findall(text))
    yield from (f"{title}: there is no such section" for title in known if title not in there)
    yield from (f"{title}: is not one of {', '.join(known)}" for title in there if title not in known)
    yield from (f"{title}: is there {often} times" for title, often in there.items() if often > 1)


def _unshown(title: str, text: str) -> Iterator[str]:
    rows = {name: below.count("\n") for name, below in TABLE.findall(text)}
    for name in SECTIONS[title]:
        if not rows.get(name):
            yield f"{title}: the table by {name} {'has no rows' if name in rows else 'is missing'}"


def lint(card: str) -> list[str]:
    """Say what a card lacks, section by section; nothing if it is complete."""
    wrong = [] if card.startswith("# ") else ["it has no title"]
    wrong += _misplaced(card, list(SECTIONS))
    for title, text in sections(card).items():
        if title in SECTIONS:
            wrong += [*_unsaid(title, text), *_unshown(title, text)]
    return wrong


def written(problem: Problem) -> dict[str, str]:
    """Read what only a problem's author can say of its model.

    Raises:
        ProblemError: card.md is missing, or does not say all of it.

    """
    text = problem.text(CARD)
    found = sections(text)
    wrong = [*_misplaced(text, WRITTEN), *(line for title in found for line in _unsaid(title, found[title]))]
    if wrong:
        msg = "\n".join([f"{CARD} of problem {problem.name} is not complete:", *(f"  {line}" for line in wrong)])
        raise ProblemError(msg)
    return found
