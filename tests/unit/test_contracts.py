"""Contracts say which columns are keys and which are personal, and can be told to those who do not speak dataframely."""

import importlib.util
from datetime import datetime
from pathlib import Path
from types import ModuleType

import dataframely as dy
import polars as pl
import pytest
from problems.parcels import contracts

from tandem.contracts import KEY, PERSONAL, Fact, Row, code_of, json_schema, marked, required, sql_types


class Visit(Row):
    """A visit to the zoo."""

    visitor = dy.String(nullable=False, regex="^v[0-9]$", metadata=KEY | PERSONAL, description="who came")
    animal = dy.String(nullable=True, max_length=9, metadata=KEY)
    minutes = dy.Int64(nullable=False, min=1, max=600)
    paid = dy.Float64(nullable=True)
    again = dy.Bool(nullable=False)
    came_at = dy.Datetime(nullable=False)


def test_marks_name_the_columns_that_bear_them() -> None:
    assert marked(Visit, KEY) == ("visitor", "animal")
    assert marked(Visit, PERSONAL) == ("visitor",)


def test_a_file_has_the_contracts_columns_but_those_of_its_origin() -> None:
    assert sql_types(Visit) == {
        "visitor": "VARCHAR",
        "animal": "VARCHAR",
        "minutes": "BIGINT",
        "paid": "DOUBLE",
        "again": "BOOLEAN",
        "came_at": "TIMESTAMP",
    }


def test_what_must_be_filled_is_required() -> None:
    assert required(Visit) == ("landing", "row", "visitor", "minutes", "again", "came_at")


class Silent(dy.Schema):
    paid = dy.Bool()


def test_a_contract_that_says_nothing_of_itself_is_told_so() -> None:
    assert json_schema(Silent)["description"] == ""


def test_json_schema_says_what_the_contract_says() -> None:
    schema = json_schema(Visit)
    assert schema["title"] == "Visit"
    assert schema["description"] == "A visit to the zoo."
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(required(Visit))
    assert schema["properties"]["visitor"] == {
        "type": "string", "pattern": "^v[0-9]$", "key": True, "personal": True, "description": "who came",
    }  # fmt: skip
    assert schema["properties"]["animal"] == {"type": ["string", "null"], "maxLength": 9, "key": True}
    assert schema["properties"]["minutes"] == {"type": "integer", "minimum": 1, "maximum": 600}
    assert schema["properties"]["paid"] == {"type": ["number", "null"]}
    assert schema["properties"]["again"] == {"type": "boolean"}
    assert (schema["$schema"], schema["type"]) == ("https://json-schema.org/draft/2020-12/schema", "object")
    assert schema["properties"]["came_at"] == {"type": "string", "format": "date-time"}


@pytest.mark.parametrize(("year", "broken"), [(1969, 1), (1970, 0), (2200, 0), (2201, 1)])
def test_a_fact_of_another_era_breaks_a_rule(year: int, broken: int) -> None:
    at = datetime(2024, 1, 1)  # noqa: DTZ001
    row = {"landing": "0", "row": 1, "event_at": at, "known_at": at.replace(year=year)}
    accepted, refused = Fact.filter(pl.DataFrame([row]))
    assert accepted.height == 1 - broken
    assert refused.counts().get("instants_are_of_this_era", 0) == broken


CODE = '''
import dataframely as dy
import polars as pl
from tandem.contracts import KEY, Row

SHORT = 3
PATTERN = f"^[a-z]{{{SHORT}}}$"

def column():
    return dy.Int64(min=1)

class Base(Row):
    name = dy.String(regex=PATTERN)

class First(Base):
    """What it is."""
    size = column()

class Second(Row):
    other = dy.Int64(metadata=KEY)

    @dy.rule()
    def is_one_of_many(cls):
        return pl.col("other").is_in([*range(50), 50, *range(51, 100)])
'''


def module(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (folder / "zoo_contracts.py").write_text(code)
    spec = importlib.util.spec_from_file_location("zoo_contracts", folder / "zoo_contracts.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(importlib.import_module("sys").modules, "zoo_contracts", made)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("change", "touches"),
    [
        (("min=1", "min=2"), {"First"}),
        (("SHORT = 3", "SHORT = 4"), {"First"}),
        (("class First(Base):", "class First(Row):"), {"First"}),
        (("name = dy.String(", "name = dy.String(nullable=True, "), {"First"}),
        (("other = dy.Int64(", "other = dy.Float64("), {"Second"}),
        (("import KEY, Row", "import PERSONAL as KEY, Row"), {"Second"}),
        (("range(50), 50", "range(50), -1"), {"Second"}),
        (("size = column()", "size = column()  # big"), set()),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else None,
)
def test_a_change_of_the_code_touches_the_contracts_that_use_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str], touches: set[str]
) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = module(CODE, tmp_path / "before", monkeypatch)
    code = {name: code_of(getattr(before, name)) for name in ("First", "Second")}
    after = module(CODE.replace(*change), tmp_path / "after", monkeypatch)
    assert {name for name, text in code.items() if code_of(getattr(after, name)) != text} == touches


@pytest.mark.parametrize("contract", [*contracts.SOURCES.values(), *contracts.FACTS.values(), contracts.Request])
def test_marks_reach_the_json_schema(contract: type[dy.Schema]) -> None:
    properties = json_schema(contract)["properties"]
    for name, mark in (("key", KEY), ("personal", PERSONAL)):
        assert tuple(column for column, told in properties.items() if told.get(name)) == marked(contract, mark)


def test_the_customer_is_marked_personal_wherever_he_stands() -> None:
    schemas = [*contracts.SOURCES.values(), *contracts.FACTS.values(), contracts.Request]
    bearing = [schema for schema in schemas if "customer" in schema.columns()]
    assert len(bearing) == 3
    assert all(marked(schema, PERSONAL) == ("customer",) for schema in bearing)
