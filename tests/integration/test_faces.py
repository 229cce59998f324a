"""The same rows through each face, by the clients that others wrote: the same scores, and the same faults."""

import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from commands import serving
from conftest import Workspace
from openapi_spec_validator import OpenAPIV31SpecValidator

from tandem.bundle import Bundle
from tandem.problem import load_problem
from tandem.warehouse import Warehouse
from tasks.training_set import requests_of

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
CSV = {"content-type": "text/csv"}
Rows = list[dict[str, Any]]
INFER = "/v2/models/parcels/infer"


@pytest.fixture(scope="module")
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(scope="module")
def frame(built: Workspace, bundle: Bundle) -> pl.DataFrame:
    """Requests of the problem, as offline code has them."""
    with Warehouse.open(built.data / "facts", built.params.as_of, bundle.spec.grid.tick) as warehouse:
        asked = requests_of(load_problem("parcels"), warehouse, bundle.spec.grid)
    names = [name for name in bundle.spec.fields if name != "moment"]
    return asked.select(names).sort("parcel").head(40)


@pytest.fixture(scope="module")
def rows(frame: pl.DataFrame) -> Rows:
    """The same, as JSON has them."""
    return [
        {n: v.replace(tzinfo=UTC).isoformat() if isinstance(v, datetime) else v for n, v in row.items()}
        for row in frame.to_dicts()
    ]


@pytest.fixture(scope="module")
def address(built: Workspace) -> Iterator[str]:
    with serving(built.root) as found:
        yield found


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address) as opened:
        yield opened


@pytest.fixture(scope="module")
def scores(client: httpx.Client, rows: Rows) -> list[float]:
    """What our own face answers."""
    told = client.post("/v1/predict", json={"instances": rows}).json()["predictions"]
    found = [each["score"] for each in told]
    assert len(set(found)) > 10
    return found


def columns(rows: Rows) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def table(rows: Rows) -> bytes:
    said: bytes = pd.DataFrame(rows).to_csv(index=False).encode()
    return said


MLFLOW: dict[str, Callable[[Rows], object]] = {
    "dataframe_split": lambda rows: {"dataframe_split": pd.DataFrame(rows).replace({np.nan: None}).to_dict("split")},
    "dataframe_records": lambda rows: {"dataframe_records": rows},
    "instances": lambda rows: {"instances": rows},
    "inputs": lambda rows: {"inputs": columns(rows)},
    "inputs as rows": lambda rows: {"inputs": rows, "params": {}},
}


@pytest.mark.parametrize("form", MLFLOW)
def test_mlflows_forms_score_the_same(client: httpx.Client, rows: Rows, scores: list[float], form: str) -> None:
    told = client.post("/invocations", json=MLFLOW[form](rows))
    assert [each["score"] for each in told.json()["predictions"]] == scores


def test_csv_scores_the_same(client: httpx.Client, rows: Rows, scores: list[float]) -> None:
    told = client.post("/invocations", content=table(rows), headers=CSV)
    assert b".0," in table(rows)  # pandas writes integers so, where one is missing
    assert [each["score"] for each in told.json()["predictions"]] == scores


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")
def test_mlflows_own_client_scores_the_same(address: str, rows: Rows, scores: list[float]) -> None:
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient  # noqa: PLC0415 - 3 s

    host, _, port = address.removeprefix("http://").partition(":")
    own = ScoringServerClient(host, port)
    own.wait_server_ready(5)
    assert re.fullmatch(r"\d+\.\d+\.\d+", own.get_version())
    told = own.invoke(pd.DataFrame(rows)).get_predictions()
    assert told["score"].tolist() == scores


def streamed(frame: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, frame.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(frame, max_chunksize=20)
    return sink.getvalue()


def test_arrow_scores_the_same_and_is_answered_in_arrow(
    client: httpx.Client, frame: pl.DataFrame, scores: list[float]
) -> None:
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)
    for body in (streamed(frame.to_arrow()), sink.getvalue()):
        told = client.post("/v1/predict", content=body, headers=ARROW)
        assert told.headers["content-type"] == ARROW["content-type"]
        found = pl.read_ipc_stream(told.content)
        assert found["score"].to_list() == scores
        assert found.schema["tick"] == pl.Datetime("us", "UTC")
        assert found["id"].n_unique() == len(scores)


def test_what_is_answered_follows_accept(client: httpx.Client, rows: Rows, frame: pl.DataFrame) -> None:
    told = client.post("/v1/predict", json={"instances": rows}, headers={"accept": ARROW["content-type"]})
    in_json = client.post("/v1/predict", json={"instances": rows}).json()["predictions"]
    for found, known in zip(pl.read_ipc_stream(told.content).to_dicts(), in_json, strict=True):
        assert found["tick"] == datetime.fromisoformat(known["tick"])
        assert {name: found[name] for name in known if name not in ("id", "tick")} == {
            name: value for name, value in known.items() if name not in ("id", "tick")
        }
    told = client.post(
        "/v1/predict", content=streamed(frame.to_arrow()), headers=ARROW | {"accept": "application/json"}
    )
    assert told.json()["predictions"][0]["score"] == in_json[0]["score"]


def tensors(rows: Rows) -> Rows:
    kinds: dict[type, str] = {str: "BYTES", int: "INT64", bool: "BOOL"}
    return [
        {"name": name, "shape": [len(rows)], "datatype": kinds[type(values[0])], "data": values}
        for name, values in columns(rows).items()
    ]


def test_tensors_in_json_score_the_same(client: httpx.Client, rows: Rows, scores: list[float]) -> None:
    told = client.post(INFER, json={"id": "mine", "inputs": tensors(rows)}).json()
    assert (told["id"], told["model_name"]) == ("mine", "parcels")
    assert (told["outputs"][0]["name"], told["outputs"][0]["data"]) == ("score", scores)
    nested = [each | {"shape": [40, 1], "data": [[v] for v in each["data"]]} for each in tensors(rows)]
    told = client.post(INFER, json={"inputs": nested, "outputs": [{"name": "action"}, {"name": "score"}]}).json()
    assert [output["name"] for output in told["outputs"]] == ["action", "score"]
    assert told["outputs"][1]["data"] == scores


def test_tritons_client_scores_the_same(address: str, bundle: Bundle, rows: Rows, scores: list[float]) -> None:
    from tritonclient import http  # noqa: PLC0415 - gevent
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    def given(name: str, values: list[Any], *, binary: bool) -> http.InferInput:
        if name == "weight_g":
            data, kind = np.array(values, dtype=float), "FP64"  # None becomes NaN
        elif name == "express":
            data, kind = np.array(values), "BOOL"
        else:
            data, kind = np.array(values, dtype=object), "BYTES"
        made = http.InferInput(name, [len(values), 1], kind)
        made.set_data_from_numpy(data.reshape(-1, 1), binary_data=binary)
        return made

    with http.InferenceServerClient(address.removeprefix("http://")) as own:
        assert own.is_server_live()
        assert own.is_server_ready()
        assert own.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        said = own.get_model_metadata("parcels", bundle.digest[:12])
        assert (said["versions"], said["outputs"][0]["name"]) == ([bundle.digest], "score")
        assert {each["name"]: each["datatype"] for each in said["inputs"]} == {
            name: {"weight_g": "INT64", "express": "BOOL"}.get(name, "BYTES") for name in rows[0]
        }
        assert own.is_model_ready("parcels")
        assert own.is_model_ready("parcels", bundle.digest)
        assert not own.is_model_ready("parcels", "1")
        full = [row for row in rows if None not in row.values()]
        known = [score for score, row in zip(scores, rows, strict=True) if None not in row.values()]
        for binary in (True, False):
            inputs = [given(name, values, binary=binary) for name, values in columns(full).items()]
            for version in ("", bundle.digest, bundle.digest[:12]):
                told = own.infer("parcels", inputs, model_version=version)
                assert told.as_numpy("score").tolist() == known
                assert told.as_numpy("bundle").tolist() == [bundle.digest.encode()] * len(full)
            outputs = [http.InferRequestedOutput("score", binary_data=not binary)]
            assert own.infer("parcels", inputs, outputs=outputs).as_numpy("score").tolist() == known
        part = [row | {"weight_g": None} for row in full]
        inputs = [given(name, values, binary=True) for name, values in columns(part).items()]
        missing = httpx.post(f"{address}/v1/predict", json={"instances": part}).json()["predictions"]
        assert own.infer("parcels", inputs).as_numpy("score").tolist() == [each["score"] for each in missing]
        with pytest.raises(InferenceServerException, match=r"\$\.inputs: a column express: the field is required"):
            own.infer("parcels", [each for each in inputs if each.name() != "express"])


def json_of(said: object) -> tuple[bytes, dict[str, str]]:
    return json.dumps(said).encode(), {}


FAULTS: dict[str, tuple[str, Callable[[Rows], tuple[bytes, dict[str, str]]], str]] = {
    "native": ("/v1/predict", lambda rows: json_of({"instances": rows}), "$.instances[1].depot"),
    "arrow": ("/v1/predict", lambda rows: (streamed(pa.Table.from_pylist(rows)), ARROW), "$.depot[1]"),
    "v2": (INFER, lambda rows: json_of({"inputs": tensors(rows)}), "$.inputs[2].data[1]"),
    "split": ("/invocations", lambda rows: json_of(MLFLOW["dataframe_split"](rows)), "$.dataframe_split.data[1][2]"),
    "records": ("/invocations", lambda rows: json_of({"dataframe_records": rows}), "$.dataframe_records[1].depot"),
    "instances": ("/invocations", lambda rows: json_of({"instances": rows}), "$.instances[1].depot"),
    "inputs": ("/invocations", lambda rows: json_of({"inputs": columns(rows)}), "$.inputs.depot[1]"),
    "csv": ("/invocations", lambda rows: (table(rows), CSV), "$[1].depot"),
}


@pytest.mark.parametrize("face", FAULTS)
def test_a_bad_field_is_named_where_the_client_wrote_it(client: httpx.Client, rows: Rows, face: str) -> None:
    path, write, place = FAULTS[face]
    assert list(rows[0])[2] == "depot"
    body, headers = write([rows[0], rows[1] | {"depot": "nowhere"}])
    told = client.post(path, content=body, headers=headers)
    assert (told.status_code, told.headers["content-type"]) == (422, "application/problem+json")
    assert [(each["path"], each["got"]) for each in told.json()["errors"]] == [(place, "'nowhere'")]
    body, headers = write([row | {"colour": "red"} for row in rows[:2]])
    told = client.post(path, content=body, headers=headers)
    assert told.status_code == 422
    assert "an unknown field" in told.json()["detail"]
    body, headers = write([{n: v for n, v in row.items() if n != "town"} for row in rows[:2]])
    told = client.post(path, content=body, headers=headers)
    assert told.status_code == 422
    assert "required" in told.json()["detail"]
    assert client.post(path, content=body, headers={"content-type": "text/html"}).status_code == 415
    assert client.post(path, content=body, headers=headers | {"content-encoding": "gzip"}).status_code == 415
    wrong = client.put(path, content=body)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_what_would_unpack_to_any_size_is_refused(client: httpx.Client, frame: pl.DataFrame) -> None:
    plain = frame.to_arrow()
    packed = streamed(plain, compression="zstd")
    folded = streamed(plain.set_column(0, "parcel", plain["parcel"].combine_chunks().dictionary_encode()))
    endless = streamed(pa.table({"weight_g": pa.nulls(10_001)}))
    for body, why in ((packed, "compressed"), (folded, "dictionaries"), (endless, "the field is required")):
        told = client.post("/v1/predict", content=body, headers=ARROW)
        assert told.status_code == 422
        assert why in told.json()["detail"]
    long = plain.slice(0, 1).take(pa.array([0] * 10_001))
    assert "at most 10000 rows" in client.post("/v1/predict", content=streamed(long), headers=ARROW).json()["detail"]


def test_the_openapi_document_is_valid_and_its_examples_are_answered(client: httpx.Client, bundle: Bundle) -> None:
    said = client.get("/openapi.json").json()
    OpenAPIV31SpecValidator(said).validate()
    assert said["info"]["description"] == bundle.spec.question
    instance = said["components"]["schemas"]["Instance"]
    assert instance["properties"]["depot"]["pattern"] == "^[A-Z][0-9]$"
    assert (instance["properties"]["weight_g"]["minimum"], instance["properties"]["weight_g"]["maximum"]) == (1, 50_000)
    asked = 0
    for path, methods in said["paths"].items():
        for kind, form in methods.get("post", {}).get("requestBody", {"content": {}})["content"].items():
            if "example" in form:
                example, named = form["example"], path.replace("{name}", "parcels")
                body = example if isinstance(example, str) else json.dumps(example)
                told = client.post(
                    named.replace("{version}", bundle.digest), content=body, headers={"content-type": kind}
                )
                assert told.status_code == 200, (path, kind, told.text)
                asked += 1
        body = methods.get("post", {}).get("requestBody", {"content": {}})["content"]
        assert all(form["schema"] != {"type": "object"} for form in body.values()), f"{path} says nothing of its body"
    assert asked >= 7


def test_the_page_needs_nothing_from_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert re.findall(r"https?://|src=|@import|url\(", page.text) == []


def test_the_model_is_told(client: httpx.Client, bundle: Bundle) -> None:
    said = client.get("/v1/model").json()
    assert (said["name"], said["question"]) == ("parcels", bundle.spec.question)
    assert said["versions"] == {"champion": bundle.digest}
    assert said["card"] == bundle.text("card.md")
    assert said["traffic"] == {"generation": 0, "share": 0.0, "key": list(bundle.spec.keys), "reason": "", "by": ""}
    assert said["fields"]["customer"]["personal"]
    assert (said["tick"], said["actions"]) == ("2024-04-14T23:45:00+00:00", ["none", "act"])


@pytest.mark.parametrize(
    "path", ["/v2/models/other", "/v2/models/other/ready", "/v2/models/parcels/versions/1", "/v2/", "/v2/models/a/b/c"]
)
def test_what_is_not_there_is_told_so(client: httpx.Client, path: str) -> None:
    told = client.get(path)
    assert told.status_code == 404
    assert told.headers["content-type"] == "application/problem+json"
