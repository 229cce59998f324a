"""What was acknowledged is there: by real workers, over real HTTP, asked, replayed and followed while they run."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from commands import tandem
from conftest import Workspace, workspace_at
from workers import check_remembered, kill_under_load, worker

from flows.refresh import refresh
from tandem.bundle import Bundle
from tandem.history import History
from tandem.ledger import rows
from tandem.problem import load_problem
from tandem.serving.records import Prediction, Records, find, segments
from tandem.snapshots import Named

EXAMPLE = load_problem("parcels").example()
KEYS = {"parcel": EXAMPLE["parcel"]}


def known(workspace: Workspace) -> Workspace:
    """Write what serving knows."""
    refresh(workspace.params, workspace.settings)
    return workspace


@pytest.fixture
def ready(rebuilt: Workspace) -> Workspace:
    """A built workspace of its own, with the snapshot that is due."""
    return known(rebuilt)


@pytest.fixture(scope="module")
def shared(built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same, shared by tests that only ask."""
    root = tmp_path_factory.mktemp("shared") / "workspace"
    subprocess.run(["cp", "-r", str(built.root), str(root)], check=True)  # noqa: S607
    shutil.rmtree(root / "var" / "ledger", ignore_errors=True)  # what other tests asked
    return known(workspace_at(root))


@pytest.fixture(scope="module")
def served(shared: Workspace) -> Iterator[httpx.Client]:
    with worker(shared.root) as (address, _), httpx.Client(base_url=address) as client:
        yield client


def predicted(client: httpx.Client | str, *instances: dict[str, Any]) -> list[str]:
    body = {"instances": [EXAMPLE | each for each in instances or ({},)]}
    got = (
        httpx.post(f"{client}/v1/predict", json=body)
        if isinstance(client, str)
        else client.post("/v1/predict", json=body)
    )
    assert got.status_code == 200, got.text
    return [each["id"] for each in got.json()["predictions"]]


def told(client: httpx.Client, *labels: object) -> httpx.Response:
    return client.post("/v1/feedback", json={"labels": labels})


def asked(workspace: Workspace, sql: str) -> Any:  # noqa: ANN401
    with History.open(workspace.settings.ledger) as history:
        return next(history.ask(sql).rows)[0]


def log(root: Path, sql: str, *words: str) -> Any:  # noqa: ANN401
    done = tandem(root, "log", "--format", "json", sql, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_record_is_given_out_by_any_worker_and_after_it_was_compacted(ready: Workspace) -> None:
    with worker(ready.root) as (address, first), httpx.Client(base_url=address) as client:
        (name,) = predicted(client)
        record = client.get(f"/v1/predictions/{name}").json()
        assert record == find(ready.settings.ledger, name)
        first.kill()
        first.wait()
    assert (record["id"], record["request"], record["variant"]) == (name, EXAMPLE | {"customer": record["request"]["customer"]}, "champion")  # fmt: skip
    assert record["request"]["customer"] != EXAMPLE["customer"], "what is personal is not written down"
    with worker(ready.root) as (address, _), httpx.Client(base_url=address) as client:
        assert client.get(f"/v1/predictions/{name}").json() == record
        assert tandem(ready.root, "compact").stdout == "compacted 1 segments, deleted 0\n"
        (segment,) = segments(ready.settings.ledger)
        segment.unlink()
        assert client.get(f"/v1/predictions/{name}").json() == record
        assert log(ready.root, "select id from predictions") == [{"id": name}]


@pytest.mark.parametrize("name", ["x", "0123abcd-0000-00000000", "..%2f..%2fparams.yaml", "%00", "é"])
def test_what_was_never_answered_has_no_record(served: httpx.Client, name: str) -> None:
    got = served.get(f"/v1/predictions/{name}")
    assert (got.status_code, got.headers["content-type"]) == (404, "application/problem+json")


def test_labels_are_taken_by_id_and_by_keys_and_the_latest_known_holds(served: httpx.Client, shared: Workspace) -> None:
    own = {"parcel": "P000777"}
    first, second = predicted(served, own, own)
    late = {"keys": own, "label": True, "known_at": "2024-04-16T02:00:00+02:00"}
    assert told(served, {"id": first, "label": False}, {"id": second, "label": False}).json() == {"taken": 2}
    assert told(served, late, late, {"id": first, "label": False, "known_at": "2024-04-17T00:00:00"}).json() == {
        "taken": 3
    }
    found = log(
        shared.root,
        f"select prediction, label, told, known_at from labels where prediction in ('{first}', '{second}') order by prediction",
    )
    assert found == [
        {"prediction": first, "label": False, "told": 4, "known_at": "2024-04-17T00:00:00"},
        {"prediction": second, "label": True, "told": 3, "known_at": "2024-04-16T00:00:00"},
    ]


@pytest.mark.parametrize(
    ("label", "paths"),
    [
        ({}, [".label"]),
        (3, [""]),
        ({"label": True}, [""]),
        ({"label": True, "id": "ID", "keys": KEYS}, [""]),
        ({"label": 1, "id": "ID"}, [".label"]),
        ({"label": True, "id": 3}, [".id"]),
        ({"label": True, "id": "x"}, [".id"]),
        ({"label": True, "id": "0123abcd-0000-00000000"}, [".id"]),
        ({"label": True, "id": "LABEL"}, [".id"]),
        ({"label": True, "id": "ID", "known_at": "soon"}, [".known_at"]),
        ({"label": True, "id": "ID", "known_at": "9998-01-01T00:00:00Z"}, [".known_at"]),
        ({"label": True, "id": "ID", "colour": 1, "known_at": 4}, [".colour", ".known_at"]),
        ({"label": True, "keys": {}}, [".keys.parcel"]),
        ({"label": True, "keys": {"parcel": "X", "town": "Berlin"}}, [".keys.parcel", ".keys.town"]),
        ({"label": True, "keys": [1]}, [".keys"]),
    ],
)
def test_each_fault_of_a_label_is_told_by_its_path_and_none_of_the_body_is_taken(
    served: httpx.Client,
    shared: Workspace,
    label: object,
    paths: list[str],
) -> None:
    (name,) = predicted(served)
    assert told(served, {"id": name, "label": True}).status_code == 200
    newest = asked(shared, "select max(id) from labels_all")
    text = json.dumps(label).replace('"ID"', f'"{name}"').replace('"LABEL"', f'"{newest}"')
    got = told(served, {"id": name, "label": True}, json.loads(text))
    assert (got.status_code, got.headers["content-type"]) == (422, "application/problem+json")
    assert [fault["path"] for fault in got.json()["errors"]] == [f"$.labels[1]{path}" for path in paths]
    assert asked(shared, f"select count(*) from labels_all where prediction = '{name}'") == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[" * 100_000, 422),
        (b'{"labels": [' + b"[" * 100_000, 400),
        (b'{"labels": []}', 422),
        (b'{"labels": {}}', 422),
        (b"{}", 422),
        (b"[]", 422),
        (b'{"labels": [1], "more": 1}', 422),
        (json.dumps({"labels": [{"label": True, "id": "x"}] * 10_001}).encode(), 422),
        (json.dumps({"labels": [{"label": True, "id": "x"}] * 10_000}).encode(), 422),
        (b'{"labels": [{"label": true, "keys": {"parcel": "P000001"}, "known_at": "0001-01-01T00:00:00+14:00"}]}', 200),
        (b'{"labels": [{"label": true, "keys": {"parcel": "P000001"}, "known_at": "9999-12-31T23:59:59-14:00"}]}', 422),
    ],
    ids=range(12),
)
def test_a_body_of_another_form_is_told_so(served: httpx.Client, body: bytes, status: int) -> None:
    got = served.post("/v1/feedback", content=body)
    assert got.status_code == status, got.text
    assert len(got.json().get("errors", [])) <= 100


def test_feedback_is_json_by_post(served: httpx.Client) -> None:
    assert served.get("/v1/feedback").status_code == 405
    assert served.post("/v1/feedback", content=b"x", headers={"content-type": "text/plain"}).status_code == 415


def test_where_there_is_no_platform_to_explain_it_is_told_and_the_rest_goes_on(ready: Workspace) -> None:
    with worker(ready.root) as (address, _), httpx.Client(base_url=address) as client:
        told = client.post("/v1/explain", json={"instances": [EXAMPLE]})
        assert (told.status_code, told.headers["retry-after"]) == (503, "1")
        assert "`tandem sync --watch` is it" in told.json()["detail"]
        assert client.post("/v1/predict", json={"instances": [EXAMPLE]}).status_code == 200


@pytest.mark.parametrize("durability", ["process", "power"])
def test_every_acknowledged_id_is_there_once_though_workers_are_killed_under_load(
    ready: Workspace, durability: str
) -> None:
    acknowledged = kill_under_load(ready.root, EXAMPLE, 10, {"TANDEM_DURABILITY": durability})
    with worker(ready.root):
        pass
    check_remembered(ready.settings.ledger, acknowledged)


def test_when_off_nothing_is_remembered_and_that_is_told(ready: Workspace) -> None:
    with worker(ready.root, {"TANDEM_DURABILITY": "off"}) as (address, _), httpx.Client(base_url=address) as client:
        (name,) = predicted(client)
        assert client.get(f"/v1/predictions/{name}").status_code == 404
        assert told(client, {"keys": KEYS, "label": True}).status_code == 503
    assert segments(ready.settings.ledger) == []


def test_on_a_full_disk_it_says_so_and_is_well_again_with_space(ready: Workspace) -> None:
    """A limit on the size of a file is what a full disk is to one segment; the rest of the process needs no disk."""
    with worker(ready.root, {"LIMIT": "20000"}) as (address, process), httpx.Client(base_url=address) as client:
        acknowledged, refused = list[str](), list[httpx.Response]()
        while len(refused) < 5:
            got = client.post("/v1/predict", json={"instances": [EXAMPLE] * 3})
            if got.status_code == 200:
                acknowledged += [each["id"] for each in got.json()["predictions"]]
            else:
                refused.append(got)
        for got in (*refused, told(client, *[{"keys": KEYS, "label": True}] * 20)):
            assert (got.status_code, got.headers["retry-after"]) == (503, "1")
            assert "cannot be recorded" in got.json()["detail"]
        assert [client.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
        subprocess.run(["prlimit", f"--pid={process.pid}", "--fsize=1000000"], check=True)  # noqa: S607
        acknowledged += predicted(client, *[{}] * 3)
        assert told(client, {"keys": KEYS, "label": True}).json() == {"taken": 1}
        (path,) = segments(ready.settings.ledger)
        kept = [row for row in rows(path) if row["kind"] == "prediction"]
        assert len(kept) == len(acknowledged)
        assert all(client.get(f"/v1/predictions/{name}").status_code == 200 for name in acknowledged)


def test_the_log_is_asked_while_workers_run_and_after_they_were_killed(ready: Workspace) -> None:
    assert log(ready.root, "from predictions") == []
    with worker(ready.root) as (one, first), worker(ready.root) as (two, _):
        names = [name for address in (one, two) for name in predicted(address, {}, {})]
        count = "select count(*) n, count(distinct id) ids from predictions"
        assert log(ready.root, count) == [{"n": 4, "ids": 4}]
        first.kill()
        first.wait()
        assert tandem(ready.root, "compact", "--json").returncode == 0
        predicted(two)
        assert log(ready.root, count) == [{"n": 5, "ids": 5}]
    assert {row["id"] for row in log(ready.root, "from predictions")} > set(names)


def test_a_wrong_question_is_one_message(shared: Workspace) -> None:
    done = tandem(shared.root, "log", "select nothing from predictions")
    assert (done.returncode, done.stdout) == (1, "")
    assert 'column "nothing" not found' in done.stderr
    assert "Traceback" not in done.stderr


def test_an_answer_is_replayed_to_the_bit(served: httpx.Client, shared: Workspace) -> None:
    (name, unknown) = predicted(served, {}, {"courier": None, "weight_g": None})
    for each in (name, unknown):
        done = tandem(shared.root, "replay", each)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "same"
    said = json.loads(tandem(shared.root, "replay", name, "--json").stdout)
    inputs = len(Bundle.open(shared.data / "bundle").spec.inputs)
    assert inputs - 3 <= said["inputs"] < inputs, "all but what follows from who the customer is"
    assert said["left_out"] == "the ledger holds customer by pseudonym only"


def changed(settings: Any, record: Prediction, **how: Any) -> str:  # noqa: ANN401
    records = Records(settings.ledger)
    (name,) = records.append([msgspec.structs.replace(record, **how)])
    records.close()
    return name


def test_what_differs_is_told_and_what_is_gone_is_named(ready: Workspace) -> None:
    ledger = ready.settings.ledger
    with worker(ready.root) as (address, _), httpx.Client(base_url=address) as client:
        (name,) = predicted(client)
    record = _record(ledger, name)
    inputs = np.frombuffer(record.features, dtype=np.float32)
    other = inputs.copy()
    place = int(np.flatnonzero(np.isfinite(other))[-1])
    other[place] = np.nextafter(other[place], np.float32(np.inf))
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"score": float(np.nextafter(np.float32(record.score), np.float32(1)))}, 4, "diverges: replay score "),
        ({"action": "other"}, 4, "diverges: replay action "),
        ({"features": other.tobytes()}, 4, "diverges: replay "),
        ({"bundle": "0" * 64}, 5, f"cannot: bundle {'0' * 64}"),
    ]
    for how, code, said in cases:
        done = tandem(ready.root, "replay", changed(ready.settings, record, **how))
        assert done.returncode == code, done.stdout
        assert done.stderr.startswith(said)
    for each in Named.all(ready.settings.snapshots):
        each.path.unlink()
    done = tandem(ready.root, "replay", name)
    assert done.returncode == 0
    assert "is no longer kept" in done.stdout
    assert done.stdout.endswith("same\n")
    assert tandem(ready.root, "replay", "0123abcd-0000-00000000").returncode == 1


def _record(ledger: Path, name: str) -> Prediction:
    return msgspec.json.decode(msgspec.json.encode(find(ledger, name)), type=Prediction)


def test_why_walks_from_an_answer_to_the_raw_lines(served: httpx.Client, shared: Workspace) -> None:
    (name,) = predicted(served)
    told(served, {"id": name, "label": True})
    done = tandem(shared.root, "why", name, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    bundle = Bundle.open(shared.data / "bundle")
    assert (found["id"], found["bundle"]["digest"], found["snapshot"]["kept"]) == (name, bundle.digest, True)
    assert found["labels"][0]["label"] is True
    assert [view["view"] for view in found["views"]] == [view.name for view in bundle.spec.views]
    views = {view["view"]: view for view in found["views"]}
    pace = views["courier.pace"]
    assert pace["key"] == {"courier": EXAMPLE["courier"]}
    assert (
        pace["row"].keys() == bundle.spec.views[[v.name for v in bundle.spec.views].index("courier.pace")].values.keys()
    )
    assert views["customer.orders"]["row"] is None, "whose they are is not told"
    lines = [line for view in found["views"] for facts in view["facts"] for line in facts["newest"]]
    pinned = {pin["sha256"] for pin in _pins(shared)}
    assert lines
    assert {line["landing"] for line in lines} <= pinned
    assert all(line["known_at"] < found["snapshot"]["tick"] for line in lines)
    tree = tandem(shared.root, "why", name)
    assert tree.returncode == 0
    assert all(word in tree.stdout for word in (name, bundle.digest, *[line["landing"] for line in lines]))


def _pins(workspace: Workspace) -> list[dict[str, Any]]:
    import yaml  # noqa: PLC0415

    pins: list[dict[str, Any]] = yaml.safe_load(workspace.lock.read_text())
    return pins
