"""When the platform's process writes snapshots: wherever the tick that is due has none."""

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from conftest import copy_tree, workspace_at

from flows.platform import Refreshing
from tandem.clock import Clock

NOW = datetime(2024, 3, 29, 12, 7)  # noqa: DTZ001
TICK = timedelta(minutes=15)


@pytest.mark.parametrize(
    ("ticks", "count"),
    [((), 1), ((0,), 0), ((-1, 0), 0), ((-1,), 1), ((3000,), 1), ((0, 3000), 0)],
)
def test_it_begins_if_the_due_tick_has_none_whatever_the_clock_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ticks: tuple[int, ...], count: int
) -> None:
    begun = list[list[str]]()
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: begun.append(command))
    workspace = workspace_at(copy_tree(tmp_path / "workspace"))
    settings = workspace.settings
    settings.clock.parent.mkdir(parents=True, exist_ok=True)
    Clock.stopped(NOW).save(settings.clock)
    settings.snapshots.mkdir(parents=True)
    for number in ticks:
        tick = datetime(2024, 3, 29, 12) + number * TICK  # noqa: DTZ001
        (settings.snapshots / f"{tick:%Y%m%dT%H%M%SZ}-{'0' * 64}").touch()
    Refreshing(workspace.params, settings).look()
    assert len(begun) == count
