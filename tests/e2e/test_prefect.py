"""With a Prefect API named, a stage shows as a flow run with its tasks, on a real server; and fails as it does plainly."""

import re
import signal
from collections.abc import Callable, Iterator
from functools import partial

import psutil
import pytest
from commands import begun, command, tandem
from conftest import STAGES, Workspace
from prefect_server import LONGEST, named_flows, runs

from tandem import prefect_runs
from tandem.errors import GateError, SourceError, TrackerError, UnreachableError
from tandem.run import operation, step, step_outside

EVERY_STAGE = f"""
import flows
from importlib import import_module
from tandem.params import Params
from tandem.settings import Settings
for stage in {STAGES}:
    getattr(import_module(f"flows.{{stage}}"), stage)(Params.load(), Settings.load())
"""
TASKS = {
    "ingest": {"write_facts", "write_quarantine"},
    "views": {"write_views", "run_view"},
    "training_set": {"describe", "requests_of", "with_views", "labels_of", "with_features", "with_split"},
    "tune": {"read_rows", "split_of"},
    "train": {"read_rows", "fit_booster", "fit_simple", "scored", "write_models"},
    "bundle": {"check_gates", "write_onnx", "golden", "rehearse", "write_source"},
}


def test_every_stage_shows_as_a_flow_run_with_its_tasks_and_gives_the_same_bytes(
    prefect: dict[str, str], rebuilt: Workspace
) -> None:
    before = rebuilt.files()
    done = command(rebuilt.root, "python", "-c", EVERY_STAGE, beside=prefect)
    assert done.returncode == 0, done.stderr
    assert rebuilt.files() == before
    flows = named_flows(prefect)
    shown = {run["id"]: flows[run["flow_id"]] for run in runs(prefect, "flow")}
    assert list(shown.values()) == list(STAGES)
    assert {run["state_type"] for run in runs(prefect, "flow")} == {"COMPLETED"}
    tasks: dict[str, set[str]] = {}
    for run in runs(prefect, "task"):
        assert run["state_type"] == "COMPLETED"
        tasks.setdefault(shown[run["flow_run_id"]], set()).add(re.sub("-[0-9a-f]{3}$", "", run["name"]))
    for stage, names in TASKS.items():
        assert names <= tasks[stage]


@pytest.fixture
def connected(prefect: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Let this process be told of the server."""
    from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings  # noqa: PLC0415

    monkeypatch.setenv("PREFECT_API_URL", prefect["PREFECT_API_URL"])
    with temporary_settings({PREFECT_API_URL: prefect["PREFECT_API_URL"], PREFECT_LOGGING_TO_API_ENABLED: False}):
        yield prefect


def test_a_failed_gate_is_the_same_error_and_shows_as_a_failed_run(
    connected: dict[str, str], rebuilt: Workspace
) -> None:
    strict = rebuilt.params.gates.model_copy(update={"ece": 0.0})
    params = rebuilt.params.model_copy(update={"gates": strict})
    with pytest.raises(GateError, match=r"^no bundle: 1 of \d+ gates failed\n  ece: "):
        Workspace(rebuilt.root, params, rebuilt.settings).run("evaluate", "bundle")
    evaluated, refused = runs(connected, "flow")[-2:]
    assert (named_flows(connected)[evaluated["flow_id"]], evaluated["state_type"]) == ("evaluate", "COMPLETED")
    assert (named_flows(connected)[refused["flow_id"]], refused["state_type"]) == ("bundle", "FAILED")
    assert "no bundle" in refused["state"]["message"]


def test_a_step_shows_as_a_task_inside_a_run_only(connected: dict[str, str]) -> None:
    @step
    def doubled(value: object) -> object:
        return [value, value]

    @operation
    def nested(value: object) -> object:
        return doubled(doubled(value))

    @operation
    def outer(value: object) -> object:
        return nested(value)

    before = len(runs(connected, "task"))
    assert doubled(1) == [1, 1]
    assert len(runs(connected, "task")) == before
    assert outer(7) == [[7, 7], [7, 7]]
    *_, first, second = runs(connected, "flow")
    assert [named_flows(connected)[run["flow_id"]] for run in (first, second)] == ["outer", "nested"]
    assert len([run for run in runs(connected, "task") if run["flow_run_id"] == second["id"]]) == 2


@pytest.mark.usefixtures("connected")
def test_what_needs_the_outside_is_tried_again_and_an_error_of_ours_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefect_runs, "RETRY_DELAYS", [0, 0, 0])
    tries: list[str] = []

    def fail(exc: Exception, times: int) -> int:
        tries.append(type(exc).__name__)
        if len(tries) <= times:
            raise exc
        return len(tries)

    reached, done = step_outside(fail), step(fail)

    @operation
    def outer(call: Callable[[], int]) -> int:
        return call()

    assert outer(lambda: reached(ConnectionError("gone"), 3)) == 4
    tries.clear()
    assert outer(lambda: reached(UnreachableError("the index is down"), 1)) == 2
    for verb, exc, most in (
        (reached, ConnectionError("gone"), 4),
        (reached, TrackerError("away"), 4),
        (reached, SourceError("damaged"), 1),
        (done, ConnectionError("gone"), 1),
    ):
        tries.clear()
        with pytest.raises(type(exc), match=str(exc)):
            outer(partial(verb, exc, 9))
        assert len(tries) == most
    tries.clear()
    with pytest.raises(ConnectionError):
        reached(ConnectionError("gone"), 9)
    assert len(tries) == 1, "outside of a run it is the function itself"


@pytest.fixture
def tracked(workspace: Workspace) -> Workspace:
    done = command(workspace.root, "dvc", "config", "core.no_scm", "true")
    assert done.returncode == 0, done.stderr
    return workspace


def test_the_walk_shows_each_stage_below_it_and_gives_the_lock_of_dvc(
    prefect: dict[str, str], tracked: Workspace
) -> None:
    before = {run["id"] for run in runs(prefect, "flow")}
    done = tandem(tracked.root, "run", beside=prefect)
    assert (done.returncode, "leaked" in done.stderr, "prefect" in done.stderr.lower()) == (0, False, False), (
        done.stderr
    )
    own = (tracked.root / "dvc.lock").read_bytes()
    flows = named_flows(prefect)
    new = [run for run in runs(prefect, "flow") if run["id"] not in before]
    (top,) = [run for run in new if flows[run["flow_id"]] == "pipeline"]
    tasks = {run["id"]: run for run in runs(prefect, "task")}
    stages = [run for run in tasks.values() if run["flow_run_id"] == top["id"] and run["name"] in STAGES]
    assert sorted(run["name"] for run in stages if run["state_type"] == "COMPLETED") >= sorted(STAGES)
    for run in new:
        if run["id"] != top["id"]:
            stands_for = tasks[run["parent_task_run_id"]]
            assert stands_for["flow_run_id"] == top["id"]
            (parent,) = stands_for["task_inputs"]["__parents__"]
            assert tasks[parent["id"]]["name"] == flows[run["flow_id"]]
            assert [task for task in tasks.values() if task["flow_run_id"] == run["id"]], "its own tasks are below it"

    done = tandem(tracked.root, "run", beside=prefect)
    assert done.returncode == 0, done.stderr
    last = [run for run in runs(prefect, "flow") if flows[run["flow_id"]] == "pipeline"][-1]
    again = [run for run in runs(prefect, "task") if run["flow_run_id"] == last["id"]]
    assert {run["name"]: run["state"]["name"] for run in again} == dict.fromkeys(STAGES, "Cached")

    (tracked.root / "dvc.lock").unlink()
    done = command(tracked.root, "dvc", "repro", "--force", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tracked.root / "dvc.lock").read_bytes() == own


def test_a_failed_stage_shows_its_reason_and_a_rerun_starts_there(prefect: dict[str, str], tracked: Workspace) -> None:
    params = tracked.root / "params.yaml"
    said = params.read_text()
    params.write_text(said.replace("  ece: 0.10", "  ece: 0.0"))
    done = tandem(tracked.root, "run", beside=prefect)
    assert done.returncode == GateError.exit_code, done.stderr
    (failed,) = [run for run in runs(prefect, "task") if run["name"] == "bundle" and run["state_type"] == "FAILED"]
    assert "no bundle: 1 of 7 gates failed" in failed["state"]["message"]
    params.write_text(said)
    done = tandem(tracked.root, "run", beside=prefect)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[: len(STAGES)]] == ["cached"] * 5 + ["ran", "ran"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_walker_that_is_ended_leaves_no_server_and_no_lock(tracked: Workspace, how: signal.Signals) -> None:
    with begun(tracked.root, "run", "--prefect") as (walker, printed):
        assert printed.readline().startswith("ingest")
        below = psutil.Process(walker.pid).children(recursive=True)
        servers = [process for process in below if "uvicorn" in process.cmdline()]
        assert len(servers) == 1
        walker.send_signal(how)
        walker.wait(LONGEST)
    assert psutil.wait_procs(below, LONGEST)[1] == []
    done = tandem(tracked.root, "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[:2] == ["ingest", "cached"]
