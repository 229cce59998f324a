"""What a workspace takes at rest. Setting: TANDEM_REST_SECONDS says how long it is looked at (60)."""

import os
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from stood import Stood, until

from tasks.containers import taken

SECONDS = float(os.environ.get("TANDEM_REST_SECONDS", "60"))
MIB, CORE = 1280, 0.10


@pytest.fixture
def resting(both: Mapping[str, Stood]) -> Iterator[Collection[Stood]]:
    """Workspaces whose workers are woken as people's are, and not each minute, once what they were at is done."""
    with ThreadPoolExecutor() as side_by_side:
        for done in side_by_side.map(lambda each: each.command("up", "--set=schedule={}"), both.values()):
            assert done.returncode == 0, done.stderr
        for each in both.values():
            until(partial(is_idle, each), "no run is under way", 120)
        yield both.values()
        for done in side_by_side.map(lambda each: each.command("up"), both.values()):
            assert done.returncode == 0, done.stderr


def is_idle(stood: Stood) -> bool:
    """Say whether the worker has no run."""
    words = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
    return "python -m prefect.engine" not in stood.run("worker", "bash", "-c", words, ok=False)


def test_a_workspace_at_rest_takes_little(resting: Collection[Stood]) -> None:
    with ThreadPoolExecutor() as side_by_side:
        for found in side_by_side.map(lambda each: taken(each.place, SECONDS), resting):
            assert sum(each.mib for each in found) < MIB, found
            assert sum(each.core for each in found) < CORE, found
