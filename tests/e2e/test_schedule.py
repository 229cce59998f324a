"""What prefect.yaml deploys, on a real server and by real workers: each day of the world is trained once, whatever ends."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import pairwise

import httpx
import psutil
import pytest
from commands import command, environment, tandem
from conftest import AS_OF, ROOT, Workspace
from msgspec.structs import replace
from prefect_server import LONGEST, named_flows, runs

from tandem.clock import Clock
from tandem.registry import Registry
from tandem.schedule import PIPELINE, REFRESH, Ended, ended
from tandem.settings import Settings
from tandem.snapshots import Named

DAYS = 10
A_DAY = 8
"""Seconds of the wall's: less than one training takes, so that several days are due at once too."""
PATIENCE = 400
CRON = re.compile(r"cron: .*\n +timezone: UTC")
NEVER = datetime(1970, 1, 1)  # noqa: DTZ001
Beside = dict[str, str]


@pytest.fixture
def beside(prefect: Beside, tracked: Settings) -> Beside:
    """What a worker's environment holds: the server, a registry, and stages that show no runs of their own."""
    return prefect | {"TANDEM_TRACKING_URI": tracked.tracking, "TANDEM_NESTED": "false"}


def deployed(workspace: Workspace, beside: Beside, *every: int) -> list[dict[str, object]]:
    """Deploy what prefect.yaml says, here woken more often, and give what the server holds of it."""
    text = (ROOT / "prefect.yaml").read_text()
    for seconds in every:
        text = CRON.sub(f"interval: {seconds}", text, count=1)
    (workspace.root / "prefect.yaml").write_text(text)
    command(workspace.root, "prefect", "work-pool", "create", "tandem", "--type", "process", beside=beside)
    done = command(workspace.root, "prefect", "deploy", "--all", beside=beside)
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, object]] = httpx.post(f"{beside['PREFECT_API_URL']}/deployments/filter", json={}).json()
    return found


@contextmanager
def worker(workspace: Workspace, beside: Beside) -> Iterator[psutil.Process]:
    """Let a worker work; in the end it and all below it are killed."""
    words = ["prefect", "worker", "start", "--pool", "tandem", "--limit", "2"]
    log = (workspace.root / "worker.log").open("a")
    with (
        log,
        subprocess.Popen(
            words, cwd=workspace.root, env=environment(workspace.root, beside), stdout=log, stderr=log
        ) as started,
    ):
        process = psutil.Process(started.pid)
        try:
            yield process
        finally:
            kill(process)


def is_stage(process: psutil.Process) -> bool:
    try:
        return "DVC_STAGE" in process.environ()
    except psutil.Error:  # it has just ended
        return False


def kill(process: psutil.Process) -> None:
    """Kill what can be caught of a tree, but no stage: those have to end by themselves."""
    below = process.children(recursive=True)
    for each in [process, *(one for one in below if not is_stage(one))]:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    assert psutil.wait_procs(below, LONGEST)[1] == []


def wait_until(true: Callable[[], object], workspace: Workspace) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, (workspace.root / "worker.log").read_text()[-5000:]
        time.sleep(0.2)


def done_until(workspace: Workspace, name: str = PIPELINE) -> datetime:
    last = Ended.load(workspace.settings.schedule, name)
    return (last and last.until) or NEVER


def registry(workspace: Workspace, beside: Beside) -> Registry:
    settings = replace(workspace.settings, tracking_uri=beside["TANDEM_TRACKING_URI"])
    return Registry("parcels", settings, Clock.stopped(AS_OF))


def test_ten_days_give_ten_bundles_also_when_all_is_killed_in_the_middle(workspace: Workspace, beside: Beside) -> None:
    assert command(workspace.root, "dvc", "config", "core.no_scm", "true").returncode == 0
    for deployment in deployed(workspace, beside, 5, 30):
        assert str(workspace.root) not in json.dumps(deployment), "it runs wherever a worker is started"
    Clock.stopped(AS_OF).at_speed(86400 / A_DAY).save(workspace.settings.clock)
    with worker(workspace, beside) as first:
        wait_until(lambda: done_until(workspace) >= AS_OF + timedelta(days=3), workspace)
        wait_until(lambda: any(map(is_stage, first.children(recursive=True))), workspace)
    with worker(workspace, beside):
        wait_until(lambda: done_until(workspace) >= AS_OF + timedelta(days=DAYS - 1), workspace)
        lately = tandem(workspace.root, "status", "--within", "5", beside=beside)
    assert lately.returncode == 0, lately.stderr
    assert tandem(workspace.root, "status", "--within", "0", beside=beside).returncode == 7
    found = registry(workspace, beside)
    versions = found.versions()
    assert [each.as_of for each in versions] == [AS_OF + timedelta(days=n) for n in range(len(versions))]
    assert len({each.digest for each in versions}) == len(versions) >= DAYS
    published = [event["digest"] for event in found.events() if event["event"] == "publish"]
    assert published == [each.digest for each in versions]
    flows = named_flows(beside)
    walks = sorted(
        (run["start_time"], run["end_time"])
        for run in runs(beside, "flow")
        if flows[run["flow_id"]] == "pipeline" and run["end_time"]
    )
    assert all(ended <= began for (_, ended), (began, _) in pairwise(walks)), "never two of the same"
    ticks = [named.tick for named in Named.all(workspace.settings.snapshots)]
    assert ticks[-1] >= done_until(workspace, REFRESH), "one that is killed may have written more than it has said"
    assert {after - before for before, after in pairwise(ticks)} == {timedelta(minutes=15)}


def test_a_worker_in_a_clone_gives_bundles_of_its_commit(workspace: Workspace, beside: Beside) -> None:
    shutil.copyfile(ROOT / ".gitignore", workspace.root / ".gitignore")
    for words in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", "all"],
    ):
        done = command(workspace.root, "git", *words)
        assert done.returncode == 0, done.stderr
    deployed(workspace, beside, 5, 30)
    ended(workspace.settings.schedule, PIPELINE, AS_OF, AS_OF)
    Clock.stopped(AS_OF + timedelta(days=1)).save(workspace.settings.clock)
    with worker(workspace, beside | {"TANDEM_NESTED": "true"}):
        wait_until(lambda: done_until(workspace) == AS_OF + timedelta(days=1), workspace)
        wait_until(lambda: Ended.load(workspace.settings.schedule, REFRESH), workspace)
    versions = registry(workspace, beside).versions()
    head = command(workspace.root, "git", "rev-parse", "HEAD").stdout.strip()
    assert [(each.as_of, each.commit, each.dirty) for each in versions] == [(AS_OF + timedelta(days=1), head, False)]
    flows = named_flows(beside)
    assert {flows[run["flow_id"]] for run in runs(beside, "flow")} >= {
        "train",
        "pipeline",
        "views",
        "publish",
        "refresh",
    }
