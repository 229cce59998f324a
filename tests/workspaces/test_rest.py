"""What a workspace takes at rest. Setting: TANDEM_REST_SECONDS says how long it is looked at (60)."""

import os
import time
from collections.abc import Iterator

import pytest
from stood import Stood

from tasks.containers import taken

SECONDS = float(os.environ.get("TANDEM_REST_SECONDS", "60"))
SETTLED = 30
MIB, CORE = 1280, 0.10


@pytest.fixture
def resting(dev: Stood) -> Iterator[Stood]:
    """A workspace whose worker is woken as people's is, and not each minute."""
    assert dev.command("up", "--set=schedule={}").returncode == 0
    time.sleep(SETTLED)
    yield dev
    assert dev.command("up").returncode == 0


def test_a_workspace_at_rest_takes_little(resting: Stood) -> None:
    found = taken(resting.place, SECONDS)
    assert sum(each.mib for each in found) < MIB, found
    assert sum(each.core for each in found) < CORE, found
