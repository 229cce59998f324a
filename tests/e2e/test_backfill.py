"""The staleness study: a model as of each of several days, beside a tree that stays as it is; killed, it goes on."""

import csv
import hashlib
import json
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import begun, tandem
from conftest import AS_OF, Workspace

from tandem.bundle import Bundle
from tandem.clock import Clock
from tandem.schedule import DAY
from tasks.backfill import study_of

FIRST, LAST = AS_OF - timedelta(days=7), AS_OF + timedelta(days=7)
WORDS = ("run", "--from", f"{FIRST:%Y-%m-%d}", "--until", f"{LAST:%Y-%m-%d}", "--every", "7d")
NOW = AS_OF + 16 * DAY


@pytest.fixture
def started(workspace: Workspace) -> Workspace:
    (workspace.root / ".dvc" / "config").write_text("[core]\n no_scm = true\n analytics = false\n")
    Clock.stopped(NOW).save(workspace.settings.clock)
    return workspace


def sums(folder: Path) -> dict[str, str]:
    """Digest all that a study has to leave as it is."""
    kept = [
        path for path in folder.rglob("*") if path.is_file() and not {"var", ".dvc", "__pycache__"} & set(path.parts)
    ]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(kept)}


def studies(at: Workspace) -> list[Path]:
    return sorted((at.settings.var / "backfill").iterdir())


def said(study: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((study / "study.json").read_text())
    return found


def test_a_study_that_was_killed_goes_on_and_changes_nothing_beside_it(started: Workspace) -> None:
    before = sums(started.root)
    with begun(started.root, *WORDS) as (killed, printed):
        assert printed.readline() == "as of 2024-04-08 00:00\n"
        assert any(line == "as of 2024-04-15 00:00\n" for line in printed)
        assert any(line.startswith("training_set  ran") for line in printed)
        killed.send_signal(signal.SIGKILL)
        printed.read()
    done = tandem(started.root, *WORDS)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "as of 2024-04-15 00:00", "the day that was done is not done again"
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["ingest", "cached"],
        ["views", "cached"],
        ["training_set", "cached"],
    ]
    assert sums(started.root) == before

    (folder,) = studies(started)
    study = said(folder)
    assert [model["as_of"] for model in study["models"]] == [
        f"{FIRST + n * 7 * DAY:%Y-%m-%dT00:00:00}" for n in range(3)
    ]
    ages = {each["weeks"]: each for each in study["ages"]}
    assert {weeks: each["models"] for weeks, each in ages.items()} == {0: 3, 1: 3, 2: 2, 3: 1}
    assert ages[0]["lost"] == 0, "the newest model of its first week is itself"
    assert all(ages[n]["newest_log_loss"] != ages[n]["log_loss"] for n in (1, 2, 3))
    with (folder / "ages.csv").open() as file:
        assert [row["log_loss"] for row in csv.DictReader(file)] == [str(each["log_loss"]) for each in study["ages"]]
    assert f"wrote {folder.relative_to(started.root)}/study.html" in done.stdout
    assert (folder / "study.html").read_text().count("<svg") == 2
    assert not (folder / "work").exists()
    table = done.stdout[done.stdout.index("weeks old") :].splitlines()
    assert [line.split()[:2] for line in table[1:]] == [["0", "3"], ["1", "3"], ["2", "2"], ["3", "1"]]
    assert max(table, key=lambda line: line.count("█")).split()[0] == str(
        max(ages, key=lambda n: float(ages[n]["lost"]))
    )

    first, *later = (Bundle.open(path) for path in sorted(folder.glob("2024-*")))
    best = min((t for t in first.json("trials.json") if t["state"] == "complete"), key=lambda t: float(t["loss"]))
    assert len(first.json("trials.json")) == started.params.tune.trials
    for bundle in later:
        (trial,) = bundle.json("trials.json")
        assert [trial[name] for name in ("depth", "learning_rate", "l2")] == [
            best[name] for name in ("depth", "learning_rate", "l2")
        ]

    again = tandem(started.root, *WORDS)
    assert again.stdout.splitlines()[0].startswith("wrote ")
    assert again.stdout[again.stdout.index("as of") :] == done.stdout[done.stdout.index("as of             ") :]


def test_a_study_of_one_day_says_what_a_backtest_says(started: Workspace) -> None:
    day = f"{AS_OF:%Y-%m-%d}"
    params = started.root / "params.yaml"
    params.write_text(params.read_text().replace("  ece: 0.10", "  ece: 0.0"))
    done = tandem(started.root, "run", "--from", day, "--until", day, "--tune", beside={"TANDEM_LOG_FORMAT": "json"})
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (study,) = studies(started)
    assert events[-1] == {"event": "study", **said(study)}
    assert said(study)["models"][0]["failing"] == ["ece"], "a gate refuses no model here, but it is told"
    (folder,) = study.glob("2024-*")
    assert len(Bundle.open(folder).json("trials.json")) == started.params.tune.trials
    work = tandem(started.root, "run")
    assert work.returncode == 3, "the graph of the tree itself keeps its gates"
    judged = tandem(started.root, "backtest", "--bundle", str(folder), "--until", f"{NOW:%Y-%m-%d}", "--json")
    overall = json.loads(judged.stdout)["overall"]
    ages = said(study)["ages"]
    assert sum(each["rows"] for each in ages) == overall["rows"]
    mean = sum(each["rows"] * each["log_loss"] for each in ages) / overall["rows"]
    assert mean == pytest.approx(overall["log_loss"], abs=1e-6)


def test_other_code_or_params_are_another_study(started: Workspace) -> None:
    day = f"{AS_OF:%Y-%m-%d}"
    for change in ("", "  miss: 2.5"):
        params = started.root / "params.yaml"
        params.write_text(params.read_text().replace("  miss: 2.0", change or "  miss: 2.0"))
        assert tandem(started.root, "run", "--from", day, "--until", day).returncode == 0
    assert len(studies(started)) == 2
    name = partial(study_of, started.root, started.params)
    assert name(FIRST, tune=False) != name(AS_OF, tune=False), "whose params all later days take"
    assert name(FIRST, tune=True) == name(AS_OF, tune=True)


def test_a_day_that_has_not_come_is_told_and_nothing_is_made(started: Workspace) -> None:
    Clock.stopped(AS_OF).save(started.settings.clock)
    done = tandem(started.root, *WORDS)
    assert done.returncode == 1
    assert "as of 2024-04-22 00:00 nothing is known yet: in the world it is 2024-04-15 00:00" in done.stderr
    assert not (started.settings.var / "backfill").exists()


def test_a_study_needs_both_ends(started: Workspace) -> None:
    done = tandem(started.root, "run", "--from", "2024-04-15")
    assert (done.returncode, "--from and --until belong together" in done.stderr) == (2, True)
    done = tandem(started.root, "run", "--every", "7d")
    assert (done.returncode, "--every and --tune are of a study" in done.stderr) == (2, True)
