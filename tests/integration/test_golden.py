"""Golden requests: made up from the contract, answered as the model does, and told where they cannot be."""

from typing import Any

import dataframely as dy
import msgspec
import numpy as np
import pytest
from conftest import Workspace

from tandem.boosting import predict, read_booster
from tandem.bundle import Bundle
from tandem.contracts import sql_types
from tandem.errors import BundleError
from tandem.problem import load_problem
from tandem.vectors import Compiled
from tasks.golden import TOLERANCE, golden, rehearse
from tasks.onnx import onnx_scores


def test_the_golden_requests_are_answered_as_xgboost_does(bundle: Bundle) -> None:
    cases = bundle.json("golden.json")
    assert len(cases) == 256
    rows = np.array([case["inputs"] for case in cases], dtype=np.float32)
    scores = np.array([case["score"] for case in cases])
    assert np.abs(onnx_scores(bundle.folder / "model.onnx", rows) - scores).max() <= TOLERANCE
    assert np.abs(predict(read_booster(bundle.folder / "model.json"), rows) - scores).max() == 0
    assert len(np.unique(scores)) > 100, "they are not one request many times"


def test_the_golden_inputs_follow_from_fields_and_views(bundle: Bundle) -> None:
    compiled = Compiled(bundle.spec)
    for case in bundle.json("golden.json"):
        made = compiled.made(tuple(case["fields"]), list(map(tuple, case["views"])))
        expected = np.array(case["inputs"], dtype=np.float32)
        np.testing.assert_array_equal(np.frombuffer(made.data, dtype=np.float32), expected)


def test_a_model_that_answers_otherwise_is_no_bundle(bundle: Bundle) -> None:
    cases = bundle.json("golden.json")
    assert rehearse(cases, bundle.folder / "model.onnx") <= TOLERANCE
    cases[7]["score"] += 2 * TOLERANCE
    with pytest.raises(BundleError, match=r"differs from XGBoost by 2\S+ on the golden requests; 1e-06 is allowed"):
        rehearse(cases, bundle.folder / "model.onnx")


def made_golden(bundle: Bundle, built: Workspace, column: dy.Column) -> list[dict[str, Any]]:
    """Make golden requests where the weight has another contract, and is multiplied."""
    problem = load_problem("parcels")
    contract = type("Request", (problem.contracts.Request,), {"weight_g": column})
    kind, sql = sql_types(contract)["weight_g"], bundle.spec.request_sql.replace("weight_g / 1000", "weight_g * 1000")
    assert sql != bundle.spec.request_sql
    spec = msgspec.structs.replace(bundle.spec, request_sql=sql, fields=bundle.spec.fields | {"weight_g": kind})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem.contracts, "Request", contract)
        return golden(problem, spec, built.data / "views", read_booster(bundle.folder / "model.json"), built.params)


@pytest.mark.parametrize(
    ("column", "least", "most"),
    [
        (dy.Int64(nullable=True), -1_000_000, 1_000_000),
        (dy.Int64(nullable=True, min_exclusive=-7), -6, 999_993),
        (dy.Int64(nullable=True, max=7), -999_993, 7),
        (dy.Int64(nullable=True, min=2**33, max=2**33 + 9), 2**33, 2**33 + 9),
        (dy.Int64(nullable=True, is_in=[3, 2**40]), 3, 2**40),
        (dy.Float64(nullable=True), -1e6, 1e6),
        (dy.Float64(nullable=True, min=2.5), 2.5, 1_000_002.5),
    ],
)
def test_a_number_without_bounds_is_golden_near_zero_or_its_one_bound(
    bundle: Bundle, built: Workspace, column: dy.Column, least: float, most: float
) -> None:
    place = list(bundle.spec.fields).index("weight_g")
    cases = made_golden(bundle, built, column)
    drawn = [case["fields"][place] for case in cases]
    known = [value for value in drawn if value is not None]
    assert len(drawn) > len(known) > 100, "some are not known"
    assert least <= min(known) <= max(known) <= most
    assert max(known) - min(known) > (most - least) * 0.9


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (dy.Int64(min=2**62), r"request\.sql: .*in a golden request with \{'weight_g': \d+.*\}; bounds"),
        (dy.Float64(min=1e300), "^kilograms: infinite as 32-bit floats in a golden request; bounds"),
        (dy.Int64(check=lambda each: each > 0), r"contracts\.py: no golden requests .*custom checks"),
    ],
)
def test_golden_requests_out_of_reach_are_told_with_what_brings_them_back(
    bundle: Bundle, built: Workspace, column: dy.Column, said: str
) -> None:
    with pytest.raises(BundleError, match=said) as failure:
        made_golden(bundle, built, column)
    assert "\n" not in str(failure.value)
