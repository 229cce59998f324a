"""Skew of the default problem is 0: 10,000 requests over HTTP, at 100 ticks, and computed offline."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

from answering import served
from commands import tandem
from conftest import Workspace
from traffic import asked_at, snapshots_until

from tandem.bundle import Bundle
from tandem.params import Params
from tandem.settings import Settings

TICKS = 100
AT_A_TICK = 100


def test_ten_thousand_requests_are_answered_as_they_are_computed_offline(ran: tuple[Path, str], tmp_path: Path) -> None:
    root = tmp_path / "tandem"
    shutil.copytree(ran[0], root, symlinks=True, ignore=shutil.ignore_patterns("ledger"))
    workspace = Workspace(root, Params.load(root / "params.yaml"), Settings(data=root / "data", var=root / "var"))
    shutil.rmtree(workspace.settings.serving, ignore_errors=True)
    bundle = Bundle.open(workspace.data / "bundle")
    ticks = snapshots_until(workspace, bundle, bundle.as_of - timedelta(days=7), TICKS)
    with served(root, beside={"TANDEM_ANY_MOMENT": "true", "TANDEM_SNAPSHOTS_KEPT": "1000"}) as (address, _, _):
        asked_at(address, workspace, bundle, ticks, AT_A_TICK)
    done = tandem(root, "skew", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["records"], told["compared"], told["stale"]) == (10_000, 10_000, 0)
    assert (told["differing"], told["largest"], told["hidden"]) == (0, 0, [])
