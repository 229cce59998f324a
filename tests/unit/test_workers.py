"""Workers are kept running; the process beside them never ends them."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tandem import workers
from tandem.workers import Workers

WORKER = "import sys, pathlib; pathlib.Path(sys.argv[1]).open('a').write('w'); print('ready', flush=True); {rest}"
STAYS, ENDS = "sys.stdin.read()", "sys.exit(3)"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOOK", 0.01)


def python(code: str, mark: Path) -> list[str]:
    return [sys.executable, "-c", code, str(mark)]


def told_to_stop_when(true: Callable[[], bool]) -> Callable[[], None]:
    """Send SIGTERM to ourselves once something holds."""

    def wait() -> None:
        while not true():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    return lambda: threading.Thread(target=wait, daemon=True).start()


def test_a_process_beside_that_ends_is_started_again_and_workers_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.0)
    mark, beside = tmp_path / "worker", tmp_path / "beside"
    command = python(WORKER.format(rest=STAYS), mark)
    kept = Workers(command, 2, python(WORKER.format(rest=ENDS), beside))
    enough = lambda: beside.exists() and len(beside.read_text()) > workers.TRIES  # noqa: E731
    assert kept.run(told_to_stop_when(enough)) == 0
    assert mark.read_text() == "ww"


def test_workers_that_end_again_and_again_are_given_up(tmp_path: Path) -> None:
    command = python(WORKER.format(rest=ENDS), tmp_path / "worker")
    assert Workers(command, 1, python("import sys; " + STAYS, tmp_path / "beside")).run(lambda: None) == 3
    assert (tmp_path / "worker").read_text() == "w" * workers.TRIES


def test_a_worker_that_never_is_ready_ends_it_with_its_code(tmp_path: Path) -> None:
    assert (
        Workers(python("import sys; sys.exit(4)", tmp_path), 1, python("import sys; " + STAYS, tmp_path)).run(
            lambda: None
        )
        == 4
    )
