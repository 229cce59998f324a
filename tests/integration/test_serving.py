"""Served over real HTTP: what is answered is what was trained on, and what is wrong is told."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import polars as pl
import pytest
from answering import Answering, served
from commands import environment, tandem
from conftest import Workspace
from msgspec.structs import replace

from tandem.bundle import Bundle
from tandem.errors import SnapshotError
from tandem.problem import load_problem
from tandem.serving.contract import Contract, Limits
from tandem.serving.core import PART
from tandem.serving.counts import Counts
from tandem.serving.http import Call
from tandem.serving.memory import Memory
from tandem.serving.records import Records, segments
from tandem.serving.refused import Refused
from tandem.serving.remembered import Remembered
from tandem.serving.service import Service
from tandem.snapshots import Snapshot
from tandem.vectors import Compiled
from tandem.warehouse import Warehouse
from tasks.training_set import requests_of

FORBIDDEN = {"pandas", "mlflow", "sklearn", "scipy", "xgboost", "polars", "duckdb", "pydantic", "sqlglot"}
LISTED = """
import sys
from tandem.serving import server
from tandem.serving.__main__ import main
serve = server.Server.serve
async def listed(self, sockets):
    print("loaded", *{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
    await serve(self, sockets)
server.Server.serve = listed
main()
"""
"""Serve as a worker does, and name every module that is loaded when the first request could come."""


@pytest.fixture(scope="module")
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(scope="module")
def asked(built: Workspace, bundle: Bundle) -> pl.DataFrame:
    """All requests of the problem, as offline code has them."""
    with Warehouse.open(built.data / "facts", built.params.as_of, bundle.spec.grid.tick) as warehouse:
        return requests_of(load_problem("parcels"), warehouse, bundle.spec.grid)


def instances_of(rows: pl.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """Write requests as a client would."""
    return [
        {n: v.replace(tzinfo=UTC).isoformat() if isinstance(v, datetime) else v for n, v in row.items()}
        for row in rows.select(names).to_dicts()
    ]


def microseconds(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


EXAMPLE = load_problem("parcels").example()
INPUTS_OF_A_COURIER = ("courier_handed_6h", "courier_late_6h", "courier_signed", "courier_unseen", "courier_here")


@pytest.fixture(scope="module")
def answering(bundle: Bundle, snapshots: Path) -> Answering:
    return Answering(bundle.folder, snapshots, bundle.as_of)


@pytest.fixture(scope="module")
def due(answering: Answering, bundle: Bundle) -> Snapshot:
    found = answering.watched.ticks.due(bundle.as_of, bundle.spec.grid)
    assert found is not None
    return found[1]


def vector_of(bundle: Bundle, snapshot: Snapshot, **changed: object) -> dict[str, float]:
    contract = Contract(bundle)
    fields = contract.values(contract.read([EXAMPLE | changed])[0], microseconds(bundle.as_of))
    made = np.frombuffer(Compiled(bundle.spec).on(snapshot.row).made(fields).data, dtype=np.float32)
    return dict(zip(bundle.spec.names, made.tolist(), strict=True))


@pytest.mark.parametrize("courier", [None, "c99"])
def test_an_unknown_key_leaves_its_inputs_unknown_and_is_answered(
    bundle: Bundle, due: Snapshot, answering: Answering, courier: str | None
) -> None:
    known, unknown = vector_of(bundle, due), vector_of(bundle, due, courier=courier)
    assert {name for name in known if np.isnan(known[name]) and name in INPUTS_OF_A_COURIER} <= {
        "courier_signed",
        "courier_here",
    }
    assert all(np.isnan(unknown[name]) for name in INPUTS_OF_A_COURIER)
    assert unknown["part_handed_7d"] == known["part_handed_7d"]
    seen, unseen = answering.ask([EXAMPLE, EXAMPLE | {"courier": courier}])
    assert 0 < unseen.score < 1
    assert unseen.score != seen.score
    assert isinstance(unseen.unknown, tuple)
    assert any(view.startswith("courier") for view in unseen.unknown)
    assert answering.counts.of("unknown_keys_total", unseen.unknown[0]) > 0


def test_a_field_that_may_be_missing_counts_as_null(answering: Answering) -> None:
    without = {name: value for name, value in EXAMPLE.items() if name not in ("courier", "weight_g")}
    assert answering.score(without) == answering.score(EXAMPLE | {"courier": None, "weight_g": None})


def test_a_batch_is_answered_as_its_requests_alone(bundle: Bundle, answering: Answering, asked: pl.DataFrame) -> None:
    requests = instances_of(asked.head(50), [name for name in bundle.spec.fields if name != "moment"])
    assert [told.score for told in answering.ask(requests)] == [answering.score(each) for each in requests]


def test_a_long_request_is_answered_in_parts_as_whole(
    bundle: Bundle, answering: Answering, asked: pl.DataFrame
) -> None:
    requests = instances_of(asked.head(40), [name for name in bundle.spec.fields if name != "moment"])
    scores = [told.score for told in answering.ask(requests)]
    assert [told.score for told in answering.ask(requests * 30)] == scores * 30


def test_a_snapshot_is_of_the_newest_tick_that_is_a_lag_old(bundle: Bundle, due: Snapshot) -> None:
    assert due.tick == bundle.as_of - timedelta(minutes=15)
    rows = due.rows()
    assert all(rows[view.name] for view in bundle.spec.views)


def test_views_that_the_bundle_does_not_know_are_refused(bundle: Bundle, due: Snapshot) -> None:
    view = bundle.spec.views[0]
    other = replace(view, values={**view.values, "more": "DOUBLE"})
    with pytest.raises(SnapshotError, match=f"does not hold {view.name} as the bundle knows it"):
        due.fits(replace(bundle.spec, views=(other,)))


def test_a_moment_before_the_first_snapshot_is_told(bundle: Bundle, answering: Answering, tmp_path: Path) -> None:
    for rows in ([EXAMPLE], [EXAMPLE] * (PART + 1)):
        with pytest.raises(Refused, match="nothing is known") as told:
            Answering(bundle.folder, tmp_path, bundle.as_of).ask(rows)
        assert told.value.status == 503, "it is no fault of who asks"
        with pytest.raises(Refused, match="a moment of which something is known") as told:
            answering.ask(rows, bundle.as_of - timedelta(days=30))
        assert told.value.status == 422


def test_a_whole_number_that_came_as_a_float_is_a_key_too(bundle: Bundle, answering: Answering, tmp_path: Path) -> None:
    champion = SimpleNamespace(spec=replace(bundle.spec, keys=("weight_g",)), contract=answering.contract)
    asked = SimpleNamespace(champion=champion, core=SimpleNamespace(now=lambda: bundle.as_of), counts=Counts())
    asked.limits = Limits()

    async def told(weight: float) -> bytes:
        async def body(_: Call) -> bytes:
            return json.dumps({"labels": [{"label": True, "keys": {"weight_g": weight}}]}).encode()

        asked.body = body
        call = Call({"headers": [], "path": "/v1/feedback"}, b"")
        with closing(Records(tmp_path)) as records:
            return (await Remembered(cast("Service", asked), Memory(records, "process")).feedback(call)).body

    assert asyncio.run(told(1250.0)) == b'{"taken":1}'
    (kept,) = segments(tmp_path)
    assert b'"keys":{"weight_g":1250}' in kept.read_bytes()
    with pytest.raises(Refused, match=r"\$\.labels\[0\]\.keys\.weight_g"):
        asyncio.run(told(1250.5))


def test_without_a_bundle_there_is_no_server(workspace: Workspace) -> None:
    told = tandem(workspace.root, "serve", "--port", "0")
    assert told.returncode == 1
    assert "holds no bundle: `dvc repro` makes one" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.fixture(scope="module")
def server(built: Workspace) -> Iterator[tuple[str, str]]:
    with served(built.root) as (address, _, said):
        yield address, said


@pytest.fixture(scope="module")
def client(server: tuple[str, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server[0]) as opened:
        yield opened


def test_the_printed_request_works(server: tuple[str, str], client: httpx.Client, bundle: Bundle) -> None:
    found = re.search(r"^curl (\S+) -d '(.*)'$", server[1], re.MULTILINE)
    assert found is not None
    assert json.loads(found[2]) == {"instances": [EXAMPLE]}
    told = client.post(found[1], content=found[2])
    assert told.status_code == 200
    assert told.headers["content-type"] == "application/json"
    (said,) = told.json()["predictions"]
    assert said["bundle"] == bundle.digest
    assert (said["tick"], said["stale"], said["variant"]) == ("2024-04-14T23:45:00+00:00", False, "champion")
    assert said["threshold"] == pytest.approx(1 / 3)
    assert said["action"] == ("act" if said["score"] >= said["threshold"] else "none")


def test_ids_are_made_by_the_server_and_unique(client: httpx.Client) -> None:
    body = {"instances": [EXAMPLE] * 500}
    ids = [p["id"] for _ in range(4) for p in client.post("/v1/predict", json=body).json()["predictions"]]
    assert len(set(ids)) == 2000


def test_the_served_scores_are_the_models(client: httpx.Client, answering: Answering) -> None:
    for changed in ({}, {"courier": "c06", "depot": "L1"}, {"weight_g": None}, {"express": False}):
        body = {"instances": [EXAMPLE | changed]}
        assert client.post("/v1/predict", json=body).json()["predictions"][0]["score"] == answering.score(
            EXAMPLE | changed
        )


def test_it_is_live_and_ready(client: httpx.Client, bundle: Bundle) -> None:
    assert client.get("/livez").json() == {"live": True}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["ready"], ready.json()["bundle"]) == (200, True, bundle.digest)


@pytest.mark.parametrize(
    ("instance", "reason"),
    [
        ({"depot": None}, "depot"),
        ({"depot": "Berlin"}, "depot"),
        ({"weight_g": 0}, "weight_g"),
        ({"weight_g": 50_001}, "weight_g"),
        ({"weight_g": "heavy"}, "weight_g"),
        ({"weight_g": 1.5}, "weight_g"),
        ({"weight_g": 2**70}, "weight_g"),
        ({"express": 1}, "express"),
        ({"town": "x" * 21}, "town"),
        ({"ordered_at": "yesterday"}, "ordered_at"),
        ({"ordered_at": 1}, "ordered_at"),
        ({"customer": "no address"}, "customer"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_field_is_named(client: httpx.Client, instance: dict[str, object], reason: str) -> None:
    told = client.post("/v1/predict", json={"instances": [EXAMPLE, EXAMPLE | instance]})
    assert told.status_code == 422
    assert told.headers["content-type"] == "application/problem+json"
    (fault,) = told.json()["errors"]
    assert fault["path"] == f"$.instances[1].{reason}"
    assert fault["expected"]
    assert fault["got"]


def test_a_missing_field_is_named(client: httpx.Client) -> None:
    told = client.post("/v1/predict", json={"instances": [{k: v for k, v in EXAMPLE.items() if k != "town"}]})
    assert told.status_code == 422
    assert told.json()["errors"] == [
        {"path": "$.instances[0].town", "expected": "a value: the field is required", "got": "nothing"}
    ]


def test_each_bad_field_is_named(client: httpx.Client) -> None:
    bad = [EXAMPLE | {"depot": None, "weight_g": 0}, EXAMPLE, {"colour": 1} | EXAMPLE | {"town": 1}]
    told = client.post("/v1/predict", json={"instances": bad}).json()["errors"]
    assert [fault["path"].removeprefix("$.instances") for fault in told] == [
        "[0].depot",
        "[0].weight_g",
        "[2].colour",
        "[2].town",
    ]


@pytest.mark.parametrize(
    "body", [{}, [], {"instances": []}, {"instances": {}}, {"instances": [1]}, {"inputs": [EXAMPLE]}]
)
def test_a_body_of_another_form_is_told_so(client: httpx.Client, body: object) -> None:
    assert client.post("/v1/predict", json=body).status_code == 422


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"instances": [{"town": "\xff"}]}', b"NaN"])
def test_a_body_that_is_no_json_is_told_so(client: httpx.Client, body: bytes) -> None:
    told = client.post("/v1/predict", content=body)
    assert told.status_code == 400
    assert "not JSON" in told.json()["detail"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"])
def test_the_ends_of_time_are_answered(client: httpx.Client, moment: str) -> None:
    body = {"instances": [EXAMPLE | {"ordered_at": moment, "promised_at": moment}]}
    assert client.post("/v1/predict", json=body).status_code == 200


def test_what_is_not_there_and_what_is_not_allowed_are_told_apart(client: httpx.Client) -> None:
    missing = client.get("/v2/predict")
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no /v2/predict")
    assert missing.json()["error"] == "there is no /v2/predict"  # as the protocol's own clients look for it
    assert "error" not in client.get("/v1/nothing").json()
    wrong = client.get("/v1/predict")
    assert (wrong.status_code, wrong.json()["detail"]) == (405, "/v1/predict takes POST, not GET")
    assert wrong.headers["allow"] == "POST"


def test_too_long_a_body_is_not_read(client: httpx.Client) -> None:
    told = client.post("/v1/predict", content=b" " * (Limits().body + 1))
    assert told.status_code == 413
    assert str(Limits().body) in told.json()["detail"]


def test_a_worker_serves_without_frames_and_trainers(built: Workspace) -> None:
    words = ["--attached", "--port", "0", "--bundle", str(built.data / "bundle"), "--standing", "2024-04-15"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", LISTED, *words],
        cwd=built.root, env=environment(built.root), stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    ) as worker:  # fmt: skip
        assert worker.stdout is not None
        assert worker.stdout.readline().startswith("ready http://127.0.0.1:")
        said = worker.communicate()[1]  # its standard input ends, and so does it
    loaded = next(set(line.split()) for line in said.splitlines() if line.startswith("loaded"))
    assert {"onnxruntime", "msgspec", "tandem"} <= loaded
    assert loaded & FORBIDDEN == set()


@pytest.mark.parametrize("more", [(), ("--check",)])
def test_a_port_that_another_has_is_told(server: tuple[str, str], built: Workspace, more: tuple[str, ...]) -> None:
    port = server[0].rpartition(":")[2]
    told = tandem(built.root, "serve", "--port", port, *more)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith(f"127.0.0.1:{port} cannot be listened on"), "and nothing was done before"


def test_a_port_that_is_free_can_be_checked(built: Workspace) -> None:
    told = tandem(built.root, "serve", "--port", "0", "--check")
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_a_time_without_a_zone_is_utc(answering: Answering) -> None:
    plain = EXAMPLE | {"ordered_at": "2024-04-14T06:00:00", "promised_at": "2024-04-15T05:00:00+02:00"}
    contract = answering.contract
    assert contract.values(contract.read([plain])[0], 0) == contract.values(contract.read([EXAMPLE])[0], 0)
