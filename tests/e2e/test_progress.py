"""How a run is shown: a live picture on a terminal, plain lines elsewhere, lines of JSON if asked; nothing of others."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time

import pytest
from commands import environment, tandem
from conftest import STAGES, Workspace

CHATTER = re.compile(r"prefect|mlflow|dvc|alembic|INFO|WARNING|%\||files?/s", re.IGNORECASE)
LONGEST = 120
DRAWING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def started(workspace: Workspace) -> Workspace:
    (workspace.root / ".dvc" / "config").write_text("[core]\n no_scm = true\n analytics = false\n")
    return workspace


def on_a_terminal(at: Workspace, *words: str) -> tuple[int, str]:
    """Run a command as a person does, and give all that the terminal was sent."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 100))  # on one without a size others draw nothing
    env = environment(at.root, {"TERM": "xterm-256color"})
    with subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words], cwd=at.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as running:
        os.close(theirs)
        said, deadline = b"", time.monotonic() + LONGEST
        while time.monotonic() < deadline and select.select([ours], [], [], LONGEST)[0]:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:  # the other end is closed
                break
        code = running.wait(LONGEST)
    os.close(ours)
    return code, said.decode()


def test_on_a_terminal_stages_are_a_live_picture(started: Workspace) -> None:
    params = started.root / "params.yaml"
    params.write_text(params.read_text().replace("  trials: 2", "  trials: 40"))
    code, said = on_a_terminal(started, "run")
    assert code == 0, said
    plain = DRAWING.sub("", said)
    assert plain.count("running") > len(STAGES), "it is drawn again and again while a stage runs"
    assert re.search(r"tune +running +\d+\.\d s +trial \d+ of 40: ", plain), "trials are shown while they go on"
    assert "\x1b[1A" in said, "drawn where it stands"
    end = plain[plain.rindex("ingest") :]
    for stage in STAGES:
        assert re.search(rf"{stage} +ran +\d+\.\d s", end), stage
    assert "Held-out rows" in plain
    assert "\x1b" not in plain, "nor what others end colours with, taken for text"
    assert not CHATTER.search(plain)

    params.write_text(params.read_text().replace("  ece: 0.10", "  ece: 0.0"))
    code, said = on_a_terminal(started, "run")
    plain = DRAWING.sub("", said)
    end = plain[plain.rindex("ingest") :]
    assert code == 3
    assert re.search(r"bundle +failed +\d+\.\d s +no bundle: 1 of 7 gates failed", end)
    assert re.search(r"tune +cached", end)


def test_elsewhere_a_run_is_a_line_a_stage_and_what_stages_say_is_on_stderr(started: Workspace) -> None:
    done = tandem(started.root, "run")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[: len(STAGES)]] == [[name, "ran"] for name in STAGES]
    assert "trial 1 of 2: complete" in done.stderr
    assert not CHATTER.search(done.stdout + done.stderr)
    done = tandem(started.root, "publish", beside={"TANDEM_TRACKING_URI": f"sqlite:///{started.root}/mlflow.db"})
    assert done.returncode == 0, done.stderr
    assert (len(done.stdout.splitlines()), done.stderr) == (1, "")


def test_lines_of_json_are_all_there_is_if_asked_for(started: Workspace) -> None:
    done = tandem(started.root, "run", beside={"TANDEM_LOG_FORMAT": "json"})
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    for stage in STAGES:
        mine = [event for event in events if event.get("stage") == stage]
        assert (mine[0]["event"], mine[-1]["event"]) == ("started", "ran")
        assert mine[-1]["seconds"] > 0
    trials = [e["message"] for e in events if e.get("stage") == "tune" and e["event"] == "said"]
    assert len([message for message in trials if message.startswith("trial")]) == 2
    assert events[-1]["event"] == "figures"
    assert events[-1]["models"]["model"]["auc"] > events[-1]["models"]["rates"]["auc"]
