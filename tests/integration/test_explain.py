"""Explanations over HTTP, from a process that has XGBoost: what they add up to, and what is said where there is none."""

import json
import shutil
import socket
import time
from collections.abc import Iterator
from math import exp
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from answering import served
from conftest import Workspace

from tandem.asking import SOCKET, Question
from tandem.bundle import Bundle
from tasks.explain import Explainer, answers, explaining

HERE = Path(__file__).parents[1] / "problems" / "parcels" / "example.json"


@pytest.fixture(scope="module")
def client(built: Workspace) -> Iterator[httpx.Client]:
    with served(built.root) as (address, _, _), httpx.Client(base_url=address) as opened:
        yield opened


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(HERE.read_text())
    return found


@pytest.fixture
def platform(built: Workspace) -> Iterator[None]:
    folder = built.data / "bundle"
    with explaining(built.settings.serving, Explainer(lambda _: [folder.parent / "none", folder])):
        yield


@pytest.mark.usefixtures("platform")
def test_contributions_add_up_to_the_margin_and_the_margin_to_the_score(
    client: httpx.Client, example: dict[str, Any], built: Workspace
) -> None:
    bundle = Bundle.open(built.data / "bundle")
    instances = [example, example | {"courier": None}, example | {"weight_g": 9000, "express": False}]
    told = client.post("/v1/explain", json={"instances": instances, "top": 1000}).json()["explanations"]
    scores = [p["score"] for p in client.post("/v1/predict", json={"instances": instances}).json()["predictions"]]
    for said, score in zip(told, scores, strict=True):
        assert said["score"] == score
        assert said["base"] + sum(c["contribution"] for c in said["contributions"]) == pytest.approx(
            said["margin"], abs=1e-5
        )
        assert 1 / (1 + exp(-said["margin"])) == pytest.approx(score, abs=1e-6)
        assert {c["feature"] for c in said["contributions"]} == set(bundle.spec.names)
        assert said["others"] == 0
    values = {c["feature"]: c["value"] for c in told[1]["contributions"]}
    assert values["courier_handed_6h"] is None


@pytest.mark.usefixtures("platform")
def test_the_largest_are_named_and_the_rest_summed_up(client: httpx.Client, example: dict[str, Any]) -> None:
    (whole,) = client.post("/v1/explain", json={"instances": [example], "top": 1000}).json()["explanations"]
    (short,) = client.post("/v1/explain", json={"instances": [example], "top": 3}).json()["explanations"]
    assert short["contributions"] == whole["contributions"][:3]
    sizes = [abs(c["contribution"]) for c in whole["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    assert all(c["meaning"] for c in short["contributions"])
    assert short["others"] == pytest.approx(sum(c["contribution"] for c in whole["contributions"][3:]), abs=1e-6)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"instances": []}, "$.instances"),
        ({"instances": [{}]}, "$.instances[0].customer"),
        ({"instances": [], "top": 0}, "$.instances"),
        ({"top": 3}, "$.instances"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, body: dict[str, Any], path: str) -> None:
    told = client.post("/v1/explain", json=body)
    assert told.status_code == 422
    assert told.json()["errors"][0]["path"] == path


@pytest.mark.usefixtures("platform")
def test_too_many_are_refused(client: httpx.Client, example: dict[str, Any]) -> None:
    told = client.post("/v1/explain", json={"instances": [example] * 1001})
    assert (told.status_code, told.json()["errors"][0]["expected"]) == (422, "at most 1000 instances to explain")


def test_a_bundle_that_is_not_there_or_damaged_is_told(built: Workspace, tmp_path: Path) -> None:
    bundle = Bundle.open(built.data / "bundle")
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    model = folder / "model.json"
    model.write_bytes(model.read_bytes()[:-10])
    row = np.zeros(len(bundle.spec.names), dtype=np.float32).tobytes()
    said = Explainer(lambda _: [folder]).answer(Question(bundle.digest, row))
    assert said.error == f"bundle {bundle.digest[:12]} is not here"
    assert Explainer(lambda _: [bundle.folder]).answer(Question("0" * 64, row)).error
    assert "takes rows of" in Explainer(lambda _: [bundle.folder]).answer(Question(bundle.digest, row[4:])).error


def test_one_that_comes_after_takes_over_until_it_goes(tmp_path: Path) -> None:
    name = tmp_path / SOCKET
    with explaining(tmp_path, Explainer(lambda _: [])):
        first = name.stat().st_ino
        with explaining(tmp_path, Explainer(lambda _: [])):
            assert name.stat().st_ino != first
        deadline = time.monotonic() + 20
        while not name.exists():
            assert time.monotonic() < deadline
        assert name.stat().st_ino == first
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(name))


def test_one_that_was_killed_keeps_no_name(tmp_path: Path) -> None:
    name, left = tmp_path / SOCKET, tmp_path / f".{SOCKET}.0"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    with explaining(tmp_path, Explainer(lambda _: [])):
        assert not left.exists()
        name.unlink()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(name))
        deadline = time.monotonic() + 20
        while not answers(name):
            assert time.monotonic() < deadline
    assert list(tmp_path.iterdir()) == []


def test_one_that_comes_after_takes_over_and_one_that_goes_leaves_it(tmp_path: Path) -> None:
    one, other = explaining(tmp_path, Explainer(lambda _: [])), explaining(tmp_path, Explainer(lambda _: []))
    with one:
        other.__enter__()
    assert (tmp_path / SOCKET).exists()
    other.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
