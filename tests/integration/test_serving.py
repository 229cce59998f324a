"""Served over real HTTP: what is answered is what was trained on, and what is wrong is told."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl
import pytest
from commands import environment
from conftest import Workspace
from tandem.serving.model import Model
from tandem.serving.requests import Decoder

from flows.serve import due_snapshot
from tandem.bundle import Bundle
from tandem.errors import MissingError, SnapshotError
from tandem.problem import load_problem
from tandem.serving.app import LARGEST
from tandem.snapshots import Snapshot
from tandem.vectors import Values, Vectors
from tandem.warehouse import Warehouse
from tasks.snapshots import Knowledge, write_due
from tasks.training_set import requests_of

FORBIDDEN = {"pandas", "mlflow", "sklearn", "scipy", "xgboost", "polars", "duckdb"}
SERVE = ("-m", "flows.cli", "serve", "--port", "0")
LISTED = """
import sys, uvicorn
from flows.cli import main
run = uvicorn.Server.run
def listed(server, sockets):
    print("loaded", *{name.split(".")[0] for name in sys.modules}, file=sys.stderr)
    run(server, sockets)
uvicorn.Server.run = listed
sys.argv = ["tandem", *sys.argv[1:]]
main()
"""
"""Serve as the command does, and name every module that is loaded when the first request could come."""


@pytest.fixture(scope="module")
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(scope="module")
def asked(built: Workspace, bundle: Bundle) -> pl.DataFrame:
    """All requests of the problem, as offline code has them."""
    with Warehouse.open(built.data / "facts", built.params.as_of, bundle.spec.grid.tick) as warehouse:
        return requests_of(load_problem("parcels"), warehouse, bundle.spec.grid)


def body_of(rows: pl.DataFrame, names: list[str]) -> bytes:
    """Write requests as a client would."""
    instances = [
        {n: v.replace(tzinfo=UTC).isoformat() if isinstance(v, datetime) else v for n, v in row.items()}
        for row in rows.select(names).to_dicts()
    ]
    return json.dumps({"instances": instances}).encode()


def microseconds(moment: datetime) -> int:
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def answer(model: Model, **changed: object) -> float:
    return model.scores(model.decode(json.dumps({"instances": [EXAMPLE | changed]}).encode()))[0]


EXAMPLE: dict[str, Any] = {
    "parcel": "P004711",
    "customer": "amelie@example.org",
    "depot": "B1",
    "town": "Berlin",
    "courier": "c03",
    "weight_g": 1250,
    "express": True,
    "ordered_at": "2024-04-14T06:00:00Z",
    "promised_at": "2024-04-15T03:00:00Z",
}
INPUTS_OF_A_COURIER = ("courier_handed_6h", "courier_late_6h", "courier_signed", "courier_unseen", "courier_here")


@pytest.fixture(scope="module")
def due(built: Workspace, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("snapshots")
    write_due(Knowledge(load_problem("parcels"), built.data / "facts", bundle.spec.grid, bundle.as_of), folder, 2)
    return due_snapshot(folder, bundle, bundle.as_of)


def vector_of(bundle: Bundle, snapshot: Snapshot, **changed: object) -> dict[str, float]:
    fields: Values = Decoder(bundle)(json.dumps({"instances": [EXAMPLE | changed]}).encode())[0]
    made = Vectors(bundle.spec).of((*fields, microseconds(bundle.as_of)), snapshot.row)
    return dict(zip(bundle.spec.names, made.tolist(), strict=True))


@pytest.mark.parametrize("courier", [None, "c99"])
def test_an_unknown_key_leaves_its_inputs_unknown_and_is_answered(
    bundle: Bundle, due: Snapshot, courier: str | None
) -> None:
    known, unknown = vector_of(bundle, due), vector_of(bundle, due, courier=courier)
    assert {name for name in known if np.isnan(known[name]) and name in INPUTS_OF_A_COURIER} <= {
        "courier_signed",
        "courier_here",
    }
    assert all(np.isnan(unknown[name]) for name in INPUTS_OF_A_COURIER)
    assert unknown["part_handed_7d"] == known["part_handed_7d"]
    model = Model(bundle, due, bundle.as_of)
    assert 0 < answer(model, courier=courier) < 1
    assert answer(model, courier=courier) != answer(model)


def test_a_field_that_may_be_missing_counts_as_null(bundle: Bundle, due: Snapshot) -> None:
    model = Model(bundle, due, bundle.as_of)
    without = {name: value for name, value in EXAMPLE.items() if name not in ("courier", "weight_g")}
    fields = model.decode(json.dumps({"instances": [without]}).encode())
    assert model.scores(fields) == [answer(model, courier=None, weight_g=None)]


def test_a_batch_is_answered_as_its_requests_alone(bundle: Bundle, due: Snapshot, asked: pl.DataFrame) -> None:
    model = Model(bundle, due, bundle.as_of)
    requests = model.decode(body_of(asked.head(50), [name for name in bundle.spec.fields if name != "moment"]))
    assert model.scores(requests) == [model.scores([each])[0] for each in requests]


def test_a_snapshot_is_of_the_newest_tick_that_is_a_lag_old(bundle: Bundle, due: Snapshot) -> None:
    assert due.tick == bundle.as_of - timedelta(minutes=15)
    rows = due.rows()
    assert all(rows[view.name] for view in bundle.spec.views)


def test_views_that_the_bundle_does_not_know_are_refused(bundle: Bundle, due: Snapshot) -> None:
    view = bundle.spec.views[0]
    other = view.model_copy(update={"values": {**view.values, "more": "DOUBLE"}})
    with pytest.raises(SnapshotError, match=f"does not hold {view.name} as the bundle knows it"):
        due.fits(bundle.spec.model_copy(update={"views": (other,)}))


def test_a_moment_before_the_first_snapshot_is_told(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds no snapshot"):
        due_snapshot(tmp_path, bundle, bundle.as_of)


def test_without_a_bundle_there_is_no_server(workspace: Workspace) -> None:
    from flows.serve import serve  # noqa: PLC0415

    with pytest.raises(MissingError, match="holds no bundle"):
        serve(None, workspace.params, workspace.settings, "127.0.0.1", 0)


@contextmanager
def serving(workspace: Workspace, *words: str) -> Iterator[tuple[str, "subprocess.Popen[str]", str]]:
    """Serve until the test is over: the address, the process and what it said."""
    root, pipe = workspace.root, subprocess.PIPE
    with subprocess.Popen([sys.executable, *words], cwd=root, env=environment(root), stderr=pipe, text=True) as server:
        assert server.stderr is not None
        said = ""
        for line in server.stderr:
            said += line
            if line.startswith("serving bundle"):
                break
        try:
            yield said.split()[-1], server, said
        finally:
            server.kill()


@pytest.fixture(scope="module")
def server(built: Workspace) -> Iterator[tuple[str, str]]:
    with serving(built, *SERVE) as (address, _, said):
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
    said = told.json()
    assert said["bundle"] == bundle.digest
    assert said["tick"] == "2024-04-14T23:45:00+00:00"
    assert said["threshold"] == pytest.approx(1 / 3)
    (prediction,) = said["predictions"]
    assert prediction["action"] == ("act" if prediction["score"] >= said["threshold"] else "none")


def test_ids_are_made_by_the_server_and_unique(client: httpx.Client) -> None:
    body = {"instances": [EXAMPLE] * 500}
    ids = [p["id"] for _ in range(4) for p in client.post("/v1/predict", json=body).json()["predictions"]]
    assert len(set(ids)) == 2000


def test_the_served_scores_are_the_models(client: httpx.Client, bundle: Bundle, due: Snapshot) -> None:
    model = Model(bundle, due, bundle.as_of)
    for changed in ({}, {"courier": "c06", "depot": "L1"}, {"weight_g": None}, {"express": False}):
        body = {"instances": [EXAMPLE | changed]}
        assert client.post("/v1/predict", json=body).json()["predictions"][0]["score"] == answer(model, **changed)


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
    assert told.json()["title"] == "Unprocessable Content"
    assert reason in told.json()["detail"]


def test_a_missing_field_is_named(client: httpx.Client) -> None:
    told = client.post("/v1/predict", json={"instances": [{k: v for k, v in EXAMPLE.items() if k != "town"}]})
    assert told.status_code == 422
    assert "town" in told.json()["detail"]


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
    wrong = client.get("/v1/predict")
    assert (wrong.status_code, wrong.json()["detail"]) == (405, "/v1/predict takes POST, not GET")
    assert wrong.headers["allow"] == "POST"


def test_too_long_a_body_is_not_read(client: httpx.Client) -> None:
    told = client.post("/v1/predict", content=b" " * (LARGEST + 1))
    assert told.status_code == 413
    assert str(LARGEST) in told.json()["detail"]


def stopped(process: "subprocess.Popen[str]", sent: signal.Signals) -> tuple[int, str]:
    process.send_signal(sent)
    assert process.stderr is not None
    return process.wait(), process.stderr.read()


def test_sigterm_stops_it(built: Workspace) -> None:
    with serving(built, *SERVE) as (address, process, _):
        assert httpx.get(f"{address}/livez").status_code == 200
        code, said = stopped(process, signal.SIGTERM)
    assert code in (0, -signal.SIGTERM)
    assert "Traceback" not in said


def test_it_serves_without_frames_and_trainers_until_ctrl_c(built: Workspace) -> None:
    with serving(built, "-c", LISTED, *SERVE[2:]) as (address, process, _):
        assert httpx.get(f"{address}/livez").status_code == 200
        code, said = stopped(process, signal.SIGINT)
    assert code in (0, 130)  # 0 where whoever started the tests ignores Ctrl-C
    assert "Traceback" not in said
    loaded = next(set(line.split()) for line in said.splitlines() if line.startswith("loaded"))
    assert {"onnxruntime", "msgspec", "tandem"} <= loaded
    assert loaded & FORBIDDEN == set()


def test_decoding_takes_a_time_without_a_zone_as_utc(bundle: Bundle) -> None:
    plain = EXAMPLE | {"ordered_at": "2024-04-14T06:00:00", "promised_at": "2024-04-15T05:00:00+02:00"}
    decode = Decoder(bundle)
    body = msgspec.json.encode({"instances": [plain]})
    assert decode(body) == decode(msgspec.json.encode({"instances": [EXAMPLE]}))
