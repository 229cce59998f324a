"""The card's linter names what is missing, and nothing that is there."""

from pathlib import Path

import pytest

from tandem.card import SECTIONS, WRITTEN, lint, sections, written
from tandem.errors import BundleError, ProblemError
from tandem.problem import load_problem
from tandem.tables import markdown
from tasks.card import check_card

TABLES = [(title, name) for title, names in SECTIONS.items() for name in names]


def table(name: str, rows: int = 1) -> str:
    return markdown((name, "count"), [("x", 1)] * rows)


def body(title: str, **rows: int) -> str:
    return "\n\n".join(["Words.", *(table(name, rows.get(name, 1)) for name in SECTIONS[title])])


def card(**changed: str) -> str:
    """A complete card, and some sections of it otherwise."""
    parts = {title: changed.get(title, body(title)) for title in SECTIONS}
    return "\n\n".join(["# A card", *(f"## {title}\n\n{text}" for title, text in parts.items())]) + "\n"


def test_a_complete_card_lacks_nothing() -> None:
    assert lint(card()) == []
    assert check_card(card()) == card()
    assert list(sections(card())) == list(SECTIONS)


def test_an_empty_card_lacks_its_title_and_every_section() -> None:
    assert lint("") == ["it has no title", *(f"{title}: there is no such section" for title in SECTIONS)]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_that_is_missing_is_named(title: str) -> None:
    left = card().replace(f"## {title}\n\n{body(title)}", "")
    assert lint(left) == [f"{title}: there is no such section"]


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_without_a_word_is_named(title: str) -> None:
    tables = body(title).removeprefix("Words.")
    assert lint(card(**{title: tables})) == [f"{title}: says nothing"]


@pytest.mark.parametrize(("title", "name"), TABLES)
def test_a_table_without_rows_is_named(title: str, name: str) -> None:
    assert lint(card(**{title: body(title, **{name: 0})})) == [f"{title}: the table by {name} has no rows"]


@pytest.mark.parametrize(("title", "name"), TABLES)
def test_a_table_that_is_missing_is_named(title: str, name: str) -> None:
    left = body(title).replace(table(name), "")
    assert lint(card(**{title: left})) == [f"{title}: the table by {name} is missing"]


@pytest.mark.parametrize("word", ["TODO", "TBD", "FIXME", "XXX"])
def test_what_is_still_to_be_written_is_named(word: str) -> None:
    assert lint(card(Limits=f"{word}: think of some")) == [f"Limits: still says {word}"]
    assert lint(card(Limits=f"Words with {word}S in them")) == []


def test_a_section_that_nobody_knows_or_that_comes_twice_is_named() -> None:
    assert [line.split(",")[0] for line in lint(f"{card()}\n## Praise\n\nWords.\n")] == [
        "Praise: is not one of Intended use"
    ]
    assert lint(f"{card()}\n## Limits\n\nOthers.\n") == ["Limits: is there 2 times"]


def test_a_card_that_is_not_complete_is_refused_with_all_that_it_lacks() -> None:
    with pytest.raises(BundleError) as refused:
        check_card(card(Limits="", Costs="Words."))
    assert str(refused.value).splitlines() == [
        "no bundle: its model card is not complete",
        "  Costs: the table by acting is missing",
        "  Costs: the table by requests is missing",
        "  Limits: says nothing",
    ]


@pytest.mark.parametrize("name", ["flights", "parcels"])
def test_each_problem_says_what_no_stage_can(name: str) -> None:
    assert tuple(written(load_problem(name))) == WRITTEN


CODE = "from tandem.problem import Problem\nPROBLEM = Problem('{}', 'Who?', (), (), ())\n"
COMPLETE = "\n".join(f"## {title}\nWords.\n" for title in WRITTEN)


def problem_with(text: str | None, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = folder / "problems" / name
    at.mkdir(parents=True)
    (at / "__init__.py").write_text("")
    (at / "problem.py").write_text(CODE.format(name))
    if text is not None:
        (at / "card.md").write_text(text)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("silent", None, "problem silent lacks card.md"),
        ("blank", "", "Intended use: there is no such section\n  Data: there"),
        ("short", COMPLETE.replace("## Fairness\nWords.\n", ""), "\n  Fairness: there is no such section"),
        ("mute", COMPLETE.replace("## Limits\nWords.", "## Limits\n"), "\n  Limits: says nothing"),
        ("later", COMPLETE.replace("Words.", "TODO", 1), "\n  Intended use: still says TODO"),
        ("vain", f"{COMPLETE}## Gates\nAll.\n", "\n  Gates: is not one of Intended use, Data, Fairness, Limits"),
    ],
)
def test_a_problem_that_does_not_say_it_is_told(
    name: str, text: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem_with(text, name, tmp_path, monkeypatch)
    with pytest.raises(ProblemError) as refused:
        written(load_problem(name))
    assert said in str(refused.value)


def test_a_problem_that_says_it_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem_with(f"# Preface\n\n{COMPLETE}", "spoken", tmp_path, monkeypatch)
    assert written(load_problem("spoken")) == dict.fromkeys(WRITTEN, "Words.")
