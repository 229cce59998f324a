"""Requests joined to what was true at their tick, and to labels that are known: on a made-up problem of a few rows."""

import dataclasses
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace
from polars.testing import assert_frame_equal

from tandem.errors import ProblemError, TooFewRowsError
from tandem.features import FeatureSpec
from tandem.params import Params, SplitParams
from tandem.problem import Problem, load_problem
from tandem.views import ViewSpec
from tandem.warehouse import Warehouse
from tasks.training_set import describe, labels_of, requests_of, summary, with_features, with_split, with_views

PARAMS = Params.load()
FILES = {
    "__init__.py": "",
    "problem.py": """
from tandem.problem import Problem, Source
PROBLEM = Problem(
    name="shop", question="Will it be late?", sources=(), keys=("who", "wanted_at"), rates=("class", "price"),
    baselines={"plain": ("person.seen",)},
)
""",
    "contracts.py": """
import dataframely as dy
from tandem.contracts import KEY
class Request(dy.Schema):
    who = dy.String(nullable=False, metadata=KEY)
    price = dy.Int64(nullable=False, min=1)
    wanted_at = dy.Datetime(nullable=False, metadata=KEY)
""",
    "requests.sql": "select wanted_at - interval 1 hour as moment, who, price, wanted_at from wanted",
    "label.sql": "select who, wanted_at, late as label, outcome, known_at from sold",
    "request.sql": """-- grain: one row per request
select
    case when price > 10 then 'dear' else 'cheap' end as class,  -- what it is
    price * 2 as twice,  -- double the price
    calls / nullif(price, 7) as share  -- of the price
from request
""",
    "slices.sql": "select who as person, class as class from request",
}
VIEWS = (
    ViewSpec(
        name="person.seen",
        grain="",
        keys=("who",),
        values={"calls": "BIGINT", "visits": "BIGINT", "town": "VARCHAR"},
        meanings={"calls": "how often", "visits": "how often", "town": "where"},
    ),
    ViewSpec(name="class.sold", grain="", keys=("class",), values={"sales": "DOUBLE"}, meanings={"sales": "how many"}),
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2024-05-{text}")


WANTED = [  # who, price, when it is wanted; it is asked for an hour before
    ("bo", 7, at("02T09:04")),
    ("al", 20, at("01T13:07")),
    ("al", 5, at("01T13:05")),
    ("cy", 20, at("01T13:07")),
    ("al", 20, at("09T13:00")),
]
AS_OF = at("09T12:00")


@pytest.fixture
def problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Problem]:
    folder = tmp_path / "problems" / "shop"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield load_problem("shop")
    for name in [name for name in sys.modules if name.startswith("problems.shop")]:
        del sys.modules[name]


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    wanted = pl.DataFrame(WANTED, orient="row", schema=["who", "price", "wanted_at"])
    told = pl.DataFrame(
        [
            ("al", at("01T13:05"), True, "sold", at("01T14:00")),
            ("bo", at("02T09:04"), False, "sold", at("09T12:00")),  # at as_of: not known yet
            ("cy", at("01T13:07"), None, "lost", at("02T00:00")),
        ],
        orient="row",
        schema={
            "who": pl.String,
            "wanted_at": pl.Datetime,
            "late": pl.Boolean,
            "outcome": pl.String,
            "known_at": pl.Datetime,
        },
    )
    early = wanted.with_columns(known_at=at("01T00:00"), event_at=at("01T00:00"))
    for name, facts in (("wanted", early), ("sold", told.with_columns(event_at="known_at"))):
        (tmp_path / "facts" / name).mkdir(parents=True)
        facts.write_parquet(tmp_path / "facts" / name / "2024-05.parquet")
    with Warehouse.open(tmp_path / "facts", AS_OF, PARAMS.features.tick) as opened:
        yield opened


@pytest.fixture
def views(tmp_path: Path) -> Path:
    folder = tmp_path / "views"
    folder.mkdir()
    seen = [
        ("al", at("01T11:50"), 1, 10, "here"),
        ("al", at("01T12:00"), 2**53 + 1, 20, "there"),
        ("al", at("01T12:10"), 3, 30, "far"),
        ("bo", at("02T08:00"), 4, 40, None),
    ]
    pl.DataFrame(seen, orient="row", schema=["who", "valid_from", "calls", "visits", "town"]).write_parquet(
        folder / "person.seen.parquet"
    )
    sold = [("cheap", at("01T11:50"), 0.5), ("dear", at("01T12:00"), 1.5), ("cheap", at("02T00:00"), 2.5)]
    pl.DataFrame(sold, orient="row", schema=["class", "valid_from", "sales"]).write_parquet(
        folder / "class.sold.parquet"
    )
    return folder


@pytest.fixture
def spec(problem: Problem) -> FeatureSpec:
    return describe(problem, VIEWS, PARAMS)


@pytest.fixture
def asked(problem: Problem, warehouse: Warehouse) -> pl.DataFrame:
    return requests_of(problem, warehouse, PARAMS.features)


def test_what_the_model_is_fed_are_the_numbers_of_views_and_request(spec: FeatureSpec) -> None:
    told = [(each.name, each.type, each.origin, each.meaning, each.reads) for each in spec.inputs]
    assert told == [
        ("calls", "BIGINT", "person.seen", "how often", ()),
        ("visits", "BIGINT", "person.seen", "how often", ()),
        ("sales", "DOUBLE", "class.sold", "how many", ()),
        ("twice", "BIGINT", "request", "double the price", ("price",)),
        ("share", "DOUBLE", "request", "of the price", ("calls", "price")),
    ]
    assert spec.fields == {"who": "VARCHAR", "price": "BIGINT", "wanted_at": "TIMESTAMP", "moment": "TIMESTAMP"}
    assert (spec.keys, spec.rates) == (("who", "wanted_at"), ("class", "price"))
    assert (spec.request_sql, spec.slices_sql) == (FILES["request.sql"], FILES["slices.sql"])


def test_a_name_stands_for_one_thing(problem: Problem) -> None:
    again = replace(VIEWS[1], values={"price": "DOUBLE"}, meanings={"price": "another"})
    with pytest.raises(ProblemError, match=r"^price: a name can stand for one thing only"):
        describe(problem, (VIEWS[0], again), PARAMS)


def test_a_views_key_must_be_somewhere(problem: Problem) -> None:
    lost = replace(VIEWS[1], keys=("class", "shop", "aisle"))
    with pytest.raises(ProblemError, match=r"view class\.sold: key aisle, shop is neither in the request"):
        describe(problem, (VIEWS[0], lost), PARAMS)


def test_requests_are_those_made_by_now_in_the_order_of_time_each_with_its_tick(asked: pl.DataFrame) -> None:
    assert asked.select("who", "price", "moment", "due").rows() == [
        ("al", 5, at("01T12:05"), at("01T12:00")),
        ("al", 20, at("01T12:07"), at("01T12:00")),
        ("cy", 20, at("01T12:07"), at("01T12:00")),
        ("bo", 7, at("02T08:04"), at("02T07:50")),
    ]


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"rates": ()}, r"rates names no column; there are .*class"),
        ({"rates": ("class", "halle")}, r"rates names halle; there are .*class"),
        ({"baselines": {"plain": ("person.seen", "nix.view")}}, r"baselines names nix.view; there are class.sold, per"),
    ],
)
def test_what_problem_py_names_must_be_there(problem: Problem, declared: dict[str, Any], why: str) -> None:
    with pytest.raises(ProblemError, match=rf"^problem\.py: {why}"):
        describe(dataclasses.replace(problem, **declared), VIEWS, PARAMS)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("price - 5 as price,", r"'price' failed validation for 1 rules: - 'min' failed for 1 rows$"),
        ("price::double as price,", r"'price', got: Float64, expected: int64$"),
        ("", r"missing columns for schema 'Request': 'price'$"),
    ],
)
def test_a_request_that_breaks_its_contract_is_told(
    made: str, why: str, problem: Problem, warehouse: Warehouse
) -> None:
    path = problem.folder / "requests.sql"
    path.write_text(path.read_text().replace("price,", made))
    with pytest.raises(ProblemError, match=rf"^requests\.sql: not all of it is as Request.*{why}"):
        requests_of(problem, warehouse, PARAMS.features)


def test_of_each_view_the_row_of_the_tick_is_joined_and_none_later(
    asked: pl.DataFrame, spec: FeatureSpec, warehouse: Warehouse, views: Path
) -> None:
    joined = with_views(asked, spec, warehouse, views)
    assert joined.select("who", "price", "calls", "visits", "town", "sales").rows() == [
        ("al", 5, 2**53 + 1, 20.0, "there", 0.5),
        ("al", 20, 2**53 + 1, 20.0, "there", 1.5),
        ("cy", 20, None, None, None, 1.5),
        ("bo", 7, None, None, None, 2.5),
    ]
    kinds = {name: joined.schema[name] for name in ("calls", "visits", "town", "sales")}
    assert kinds == {"calls": pl.Int64, "visits": pl.Float32, "town": pl.String, "sales": pl.Float32}, (
        "what request.sql reads is left as it is, what only the model reads is as it reads it"
    )
    assert "class" not in joined.columns
    assert "valid_from" not in joined.columns


@pytest.mark.parametrize("moment", [at("01T12:00:30"), None])
def test_a_row_that_is_not_true_from_a_tick_on_is_an_error(
    asked: pl.DataFrame, spec: FeatureSpec, warehouse: Warehouse, views: Path, moment: datetime | None
) -> None:
    path = views / "class.sold.parquet"
    sold = pl.read_parquet(path)
    sold.with_columns(pl.Series("valid_from", [moment, *sold["valid_from"][1:]])).write_parquet(path)
    with pytest.raises(ProblemError, match=rf"views/class\.sold\.sql: valid_from {moment} is no tick: `published\("):
        with_views(asked, spec, warehouse, views)


def test_views_that_have_keys_of_the_request_alone_are_joined_too(
    asked: pl.DataFrame, problem: Problem, warehouse: Warehouse, views: Path
) -> None:
    joined = with_views(asked, describe(problem, VIEWS[:1], PARAMS), warehouse, views)
    assert joined["town"].to_list() == ["there", "there", None, None]


def test_features_are_computed_and_what_judges_need_is_kept(
    asked: pl.DataFrame, spec: FeatureSpec, warehouse: Warehouse, views: Path
) -> None:
    made = with_features(with_views(asked, spec, warehouse, views), spec, warehouse)
    assert made.columns == ["moment", "who", "wanted_at", "class", "price", *spec.names, "slice_person", "slice_class"]
    assert set(made.select(spec.names).dtypes) == {pl.Float32}
    assert made["twice"].to_list() == [10, 40, 40, 14]
    assert made["share"].to_list() == [pytest.approx(2**53 / 5), pytest.approx(2**53 / 20), None, None]
    assert made["class"].to_list() == made["slice_class"].to_list() == ["cheap", "dear", "dear", "cheap"]
    assert made["slice_person"].to_list() == ["al", "al", "cy", "bo"]


def test_a_slice_must_be_text(asked: pl.DataFrame, spec: FeatureSpec, warehouse: Warehouse, views: Path) -> None:
    joined = with_views(asked, spec, warehouse, views)
    wrong = replace(spec, slices_sql="select who as person, price as price from request")
    with pytest.raises(ProblemError, match=r"slices\.sql: price must be text"):
        with_features(joined, wrong, warehouse)


def test_an_endless_input_is_an_error(
    asked: pl.DataFrame, spec: FeatureSpec, warehouse: Warehouse, views: Path
) -> None:
    joined = with_views(asked, spec, warehouse, views).with_columns(sales=pl.lit(float("inf"), pl.Float32))
    with pytest.raises(ProblemError, match=r"^sales: infinite in some rows"):
        with_features(joined, spec, warehouse)


def test_labels_stand_beside_their_requests_where_they_are_known(
    asked: pl.DataFrame, problem: Problem, warehouse: Warehouse
) -> None:
    assert_frame_equal(
        labels_of(asked, problem, warehouse),
        pl.DataFrame(
            {
                "label": [True, None, None, None],
                "outcome": ["sold", None, "lost", None],
                "label_known_at": [at("01T14:00"), None, at("02T00:00"), None],
            }
        ),
    )


def test_a_request_with_two_labels_is_an_error(asked: pl.DataFrame, problem: Problem, warehouse: Warehouse) -> None:
    path = problem.folder / "label.sql"
    path.write_text(f"{path.read_text()} union all {path.read_text()}")
    with pytest.raises(ProblemError, match=r'\Alabel\.sql gives two rows for one "who", "wanted_at"'):
        labels_of(asked, problem, warehouse)


def test_two_requests_of_one_key_are_an_error(asked: pl.DataFrame, problem: Problem, warehouse: Warehouse) -> None:
    with pytest.raises(ProblemError, match=r'\Arequests\.sql gives two rows for one "who", "wanted_at"'):
        labels_of(pl.concat([asked, asked.head(1)]), problem, warehouse)


SPLIT = SplitParams(test_days=2, stop_days=3, smallest=2)
MICROSECOND = timedelta(microseconds=1)
TEST, STOP = at("07T12:00"), at("04T12:00")
PARTS = [  # asked, answered, and what the row is for
    (STOP - timedelta(days=1), STOP - MICROSECOND, "fit"),
    (STOP - timedelta(days=1), STOP, None),
    (STOP - timedelta(days=2), STOP - timedelta(days=1), "fit"),
    (STOP, TEST - MICROSECOND, "stop"),
    (STOP, TEST, None),
    (STOP + timedelta(hours=1), STOP + timedelta(hours=2), "stop"),
    (STOP - MICROSECOND, STOP + timedelta(hours=1), None),
    (TEST, TEST + timedelta(hours=1), "test"),
    (TEST - MICROSECOND, TEST + timedelta(hours=1), None),
    (TEST + timedelta(days=1), TEST + timedelta(days=1, hours=1), "test"),
]


def split(params: SplitParams, *, known: bool = True) -> pl.DataFrame:
    features = pl.DataFrame({"moment": [asked for asked, *_ in PARTS], "x": [0.5, None, *[1.5] * 8]})
    told = [answered for _, answered, _ in PARTS]
    outcomes = ["sold"] * 9 + [None]
    labels = pl.DataFrame({"label": [known or None] * 10, "outcome": outcomes, "label_known_at": told})
    return with_split(features, labels, params, AS_OF)


def test_a_row_is_for_one_part_and_none_that_was_asked_before_and_answered_after() -> None:
    assert split(SPLIT)["split"].to_list() == [part for *_, part in PARTS]


@pytest.mark.parametrize(("days", "part"), [((2, 1), "stop"), ((1, 4), "test"), ((2, 5), "fit")])
def test_a_part_that_is_too_small_is_named(days: tuple[int, int], part: str) -> None:
    test_days, stop_days = days
    with pytest.raises(TooFewRowsError, match=f"the {part} part of the training set: [01] rows, need at least 2"):
        split(SplitParams(test_days=test_days, stop_days=stop_days, smallest=2))


def test_what_has_no_label_is_for_nothing() -> None:
    with pytest.raises(TooFewRowsError, match="the fit part of the training set: 0 rows"):
        split(SPLIT, known=False)


def test_the_summary_counts_outcomes_parts_and_what_is_not_known(spec: FeatureSpec) -> None:
    narrow = replace(spec, inputs=(replace(spec.inputs[0], name="x"),))
    said = summary(split(SPLIT).with_columns(x=pl.when(pl.int_range(10) > 2).then("x")), narrow)
    assert (said["requests"], said["outcomes"]) == (10, {"sold": 9, "not known yet": 1})
    assert said["parts"] == {
        "fit": {
            "rows": 2,
            "positives": 2,
            "from": str(STOP - timedelta(days=2)),
            "until": str(STOP - timedelta(days=1)),
        },
        "stop": {"rows": 2, "positives": 2, "from": str(STOP), "until": str(STOP + timedelta(hours=1))},
        "test": {"rows": 2, "positives": 2, "from": str(TEST), "until": str(TEST + timedelta(days=1))},
    }
    assert list(said["outcomes"]) == ["sold", "not known yet"], "what is not known comes last"
    assert said["nulls"] == {"x": 0.3}
    assert summary(split(SPLIT).head(3), narrow)["nulls"] == {"x": 0.333333}
