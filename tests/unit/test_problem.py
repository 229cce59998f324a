"""A problem is found by its name, and what it lacks is told."""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from flows.serve import invite
from tandem.contracts import KEY, Fact, Row, marked, sql_types
from tandem.errors import ProblemError
from tandem.problem import load_problem
from tasks.bundle import check_example

ALL = ("flights", "parcels")


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    (folder / "problems" / name).mkdir(parents=True)
    (folder / "problems" / name / "__init__.py").write_text("")
    (folder / "problems" / name / "problem.py").write_text(code)
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("name", ALL)
def test_each_problem_has_all_its_parts(name: str) -> None:
    problem = load_problem(name)
    assert problem.name == name
    assert set(problem.contracts.SOURCES) == {source.name for source in problem.sources}
    assert set(problem.contracts.FACTS) == set(problem.kinds)
    assert all(issubclass(contract, Row) for contract in problem.contracts.SOURCES.values())
    assert all(issubclass(contract, Fact) for contract in problem.contracts.FACTS.values())
    assert all(problem.sql(f"facts/{kind}") for kind in problem.kinds)
    assert all(problem.sql(part) for part in ("request", "requests", "label", "slices"))


@pytest.mark.parametrize("name", ALL)
def test_each_problems_example_fills_every_field_of_its_request(name: str) -> None:
    problem = load_problem(name)
    fields = sql_types(problem.contracts.Request)
    assert list(problem.example()) == list(fields)
    assert None not in problem.example().values()
    assert set(problem.keys) <= set(marked(problem.contracts.Request, KEY))


def test_a_problem_that_does_not_exist_is_told() -> None:
    with pytest.raises(ProblemError, match=rf"there is no {ROOT}/problems/unicorns/"):
        load_problem("unicorns")


@pytest.mark.parametrize("lookback", [timedelta(), timedelta(days=-4), 33])
def test_a_lookback_that_no_fact_would_be_within_is_told(lookback: Any) -> None:  # noqa: ANN401
    with pytest.raises(ProblemError, match=r"lookback is .*, and must be a timedelta of more than nothing"):
        dataclasses.replace(load_problem("parcels"), lookback=lookback)


@pytest.mark.parametrize("name", ["model", "rates", "../../x", "", "With Blanks"])
def test_a_baseline_of_a_name_that_it_cannot_have_is_told(name: str) -> None:
    with pytest.raises(ProblemError, match=r"a baseline is called by a word of"):
        dataclasses.replace(load_problem("parcels"), baselines={name: ("courier.last_seen",)})


@pytest.mark.parametrize("code", ["", "PROBLEM = 'zoo'"])
def test_a_problem_that_declares_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    name = f"zoo{len(code)}"
    made(tmp_path, monkeypatch, name, code)
    with pytest.raises(ProblemError, match="must set PROBLEM"):
        load_problem(name)


def test_a_source_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(ProblemError, match="no source 'letters': it has depots, orders, events"):
        load_problem("parcels").source("letters")


def test_a_file_that_is_missing_is_told() -> None:
    with pytest.raises(ProblemError, match=r"problem parcels lacks views/no\.such\.sql"):
        load_problem("parcels").sql("views/no.such")


NAMED = """
from tandem.problem import Problem, Source
sources = (Source("keepers", "csv"), Source("animals", "csv", kinds=("born", "gone")))
PROBLEM = Problem(name="{}", question="?", sources=sources, keys=(), rates=())
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("den", None, r"problem den lacks contracts\.py"),
        (
            "pen",
            "",
            r"pen/contracts\.py lacks SOURCES\['keepers'\], SOURCES\['animals'\], FACTS\['born'\], .*, Request$",
        ),
        (
            "pit",
            "SOURCES = {'keepers': 1, 'animals': 2}\nFACTS = {'born': 3}\nRequest = 4",
            r"^problems/pit/contracts\.py lacks FACTS\['gone'\]$",
        ),
    ],
)
def test_a_contract_that_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str | None, said: str
) -> None:
    made(tmp_path, monkeypatch, name, NAMED.format(name))
    if code is not None:
        (tmp_path / "problems" / name / "contracts.py").write_text(code)
    with pytest.raises(ProblemError, match=said):
        _ = load_problem(name).contracts


def test_what_is_looked_up_in_has_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = load_problem("parcels")
    monkeypatch.setitem(problem.contracts.SOURCES, "depots", problem.contracts.SOURCES["events"])
    with pytest.raises(ProblemError, match=r"contracts\.py: depots is looked up in, and needs a primary key"):
        _ = dataclasses.replace(problem).contracts


EXAMPLES = [
    (None, r"problem parcels lacks example\.json"),
    ("{", "example.json of problem parcels is no Request of contracts.py: all of it: Invalid JSON"),
    (
        '{"parcel": 7, "visit": 1}',
        r"parcel: Input should be a valid string \(got 7\); customer: Field required .*; visit: ",
    ),
]


@pytest.mark.parametrize(("text", "said"), EXAMPLES)
def test_an_example_that_is_no_request_is_told(tmp_path: Path, text: str | None, said: str) -> None:
    problem = dataclasses.replace(load_problem("parcels"))
    vars(problem)["contracts"], vars(problem)["folder"] = problem.contracts, tmp_path
    if text is not None:
        (tmp_path / "example.json").write_text(text)
    with pytest.raises(ProblemError, match=said):
        check_example(problem)


@pytest.mark.parametrize("name", ALL)
def test_each_problems_example_is_a_request(name: str) -> None:
    check_example(load_problem(name))


@pytest.mark.parametrize("text", [None, "{"])
def test_who_has_no_example_is_served_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    problem = dataclasses.replace(load_problem("parcels"))
    vars(problem)["folder"] = tmp_path
    if text is not None:
        (tmp_path / "example.json").write_text(text)
    invite(problem, "http://here:1")
    said = capsys.readouterr().err
    assert "example.json" in said
    assert said.endswith("serving on http://here:1\n")


def test_both_problems_are_parts_of_one_package_that_is_no_folder_of_its_own() -> None:
    folders = {load_problem(name).folder.parent.parent.name for name in ALL}
    assert len(folders) == 2
    assert not any((load_problem(name).folder.parent / "__init__.py").exists() for name in ALL)
