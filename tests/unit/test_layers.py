"""Sentences over verbs over nouns, and no word of the default problem outside its folder."""

import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
WORDS = re.compile(r"flight|airport|aircraft|weather|carrier|tailnum|nyc|depart", re.IGNORECASE)
CODE = [path for layer in ("flows", "tasks", "tandem") for path in sorted((ROOT / layer).rglob("*.py"))]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("flows", "tasks", "tandem", "problems.flights", cache_dir=None)


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("tandem", "tasks"),
        ("tandem", "flows"),
        ("tasks", "flows"),
        ("tandem", "problems.flights"),
        ("tasks", "problems.flights"),
        ("flows", "problems.flights"),
        ("problems.flights", "tasks"),
        ("problems.flights", "flows"),
    ],
)
def test_arrows_run_one_way(graph: grimp.ImportGraph, lower: str, higher: str) -> None:
    assert graph.find_shortest_chains(lower, higher, as_packages=True) == set()


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_knows_nothing_of_the_problem(path: Path) -> None:
    found = [line for line in path.read_text().splitlines() if WORDS.search(line)]
    assert found == []
