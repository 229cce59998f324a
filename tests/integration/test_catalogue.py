"""The catalogue says of each feature what is true of it; on the tests' own problem, as its graph makes it."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, Workspace

from flows.catalogue import catalogue
from tandem.errors import MissingError, ProblemError
from tandem.problem import load_problem

Rows = dict[str, list[str]]


def _text(made: Workspace, target: Path) -> str:
    return catalogue(made.params, made.settings, target).read_text()


def _section(text: str, heading: str) -> str:
    return text.split(f"# {heading}\n")[1].split("\n#", maxsplit=1)[0]


def _rows(text: str) -> Rows:
    """Rows of a section's table by their names, without them."""
    cells = [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.fixture(scope="module")
def text(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> str:
    return _text(built, tmp_path_factory.mktemp("catalogue") / "features.md")


@pytest.mark.parametrize(
    ("view", "facts"),
    [
        ("courier.last_seen", "`scanned`, `delivered`"),
        ("courier.pace", "`ordered`, `delivered`"),
        ("customer.orders", "`ordered`"),
        ("depot_part.history", "`ordered`, `delivered`"),
    ],
)
def test_a_view_names_its_facts_also_through_a_macro(text: str, view: str, facts: str) -> None:
    assert f"Facts: {facts}." in _section(text, view)


def test_a_view_states_its_grain_and_key(text: str) -> None:
    said = _section(text, "depot_part.history")
    assert "One row per depot and part of the day, and tick at which what was handed over" in said
    assert "Key: `depot`, `part`." in said


def test_every_input_has_its_figures_and_nothing_else_has(text: str, built: Workspace) -> None:
    importance = json.loads((built.data / "model" / "importance.json").read_text())
    rows = pl.read_parquet(built.data / "training_set" / "rows.parquet")
    found = _rows(text)
    assert importance.keys() <= found.keys()
    for name, cells in found.items():
        if name in importance:
            nulls = rows[name].null_count() / rows.height
            assert cells[-2:] == [f"{100 * nulls:.1f}%", f"{100 * importance[name]:.1f}%"], name
        else:
            assert cells[-2:] == ["", ""], name


def test_a_value_has_the_meaning_beside_it_in_the_sql(text: str) -> None:
    rows = _rows(_section(text, "courier.last_seen"))
    assert rows["courier_town"][:2] == ["VARCHAR", "where he scanned last; not known after he handed a parcel over"]
    assert rows["courier_signed"][0] == "BOOLEAN"


def test_a_request_feature_comes_from_the_facts_of_what_it_reads(text: str) -> None:
    rows = _rows(_section(text, "Request features"))
    assert rows["notice"][2:4] == ["`ordered_at`, `promised_at`", "`request`"]
    assert rows["courier_unseen"][2:4] == ["`courier_seen_at`, `moment`", "`request`, `scanned`, `delivered`"]
    assert rows["courier_share"][3] == "`ordered`, `delivered`"


def test_importance_adds_up(text: str) -> None:
    shares = [float(line.split("|")[-2].strip(" %")) for line in text.splitlines() if line.startswith("| [")]
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))


def test_twice_gives_the_same_bytes(text: str, built: Workspace, tmp_path: Path) -> None:
    assert _text(built, tmp_path / "again.md") == text


def test_what_was_never_made_is_told(landed: Workspace, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"features\.json does not exist"):
        _text(landed, tmp_path / "features.md")
    assert list(tmp_path.glob("*.md")) == []


def test_a_model_of_another_run_is_refused(rebuilt: Workspace, tmp_path: Path) -> None:
    path = rebuilt.data / "model" / "importance.json"
    importance = json.loads(path.read_text())
    path.write_text(json.dumps({"another": 0.0} | importance))
    with pytest.raises(MissingError, match="not of one run"):
        _text(rebuilt, tmp_path / "features.md")
    path.unlink()
    with pytest.raises(MissingError, match=r"importance\.json does not exist"):
        _text(rebuilt, tmp_path / "features.md")


def test_a_view_that_was_not_run_is_told(rebuilt: Workspace, tmp_path: Path) -> None:
    path = rebuilt.data / "training_set" / "features.json"
    spec = json.loads(path.read_text())
    spec["views"][0]["name"] = "courier.elsewhere"
    path.write_text(json.dumps(spec))
    with pytest.raises(ProblemError, match="changed since it was run"):
        _text(rebuilt, tmp_path / "features.md")


def test_a_bar_in_a_meaning_stays_in_its_cell(rebuilt: Workspace, tmp_path: Path) -> None:
    path = rebuilt.data / "training_set" / "features.json"
    path.write_text(path.read_text().replace("where he scanned last;", "|here|"))
    rows = _rows(_text(rebuilt, tmp_path / "features.md"))
    assert rows["courier_town"][1] == "\\|here\\| not known after he handed a parcel over"


def test_the_committed_catalogue_knows_every_view_of_the_default_problem() -> None:
    committed = (ROOT / "docs" / "features.md").read_text()
    views = load_problem("flights").folder / "views"
    assert re.findall(r"^### (.+)$", committed, re.MULTILINE) == sorted(path.stem for path in views.glob("*.sql"))
