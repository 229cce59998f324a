"""The `tandem` command as it is typed: what it prints, and how it ends."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from commands import Tandem, command
from conftest import AS_OF, STAGES, Workspace, copy_tree

from tandem.bundle import Bundle
from tandem.graph import Graph
from tandem.schedule import ended

FIGURES = {"rows", "auc", "average_precision", "log_loss", "brier", "ece"}
GROUPS = {"clock": ("show",), "signer": ("new",), "keys": ("add",), "workspace": ("up",)}
UNTIL = "2024-05-01"
using_dvc = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")


@pytest.fixture
def committed(rebuilt: Workspace) -> Workspace:
    """A built workspace whose results DVC knows as its own."""
    (rebuilt.root / ".dvc" / "config").write_text("[core]\n no_scm = true\n analytics = false\n")
    done = command(rebuilt.root, "dvc", "commit", "--force", "--quiet")
    assert done.returncode == 0, done.stderr
    return rebuilt


def stages_of(tandem: Tandem, folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(tandem("status", "--json", folder=folder)[1])["stages"]
    return found


def subcommands(tandem: Tandem) -> list[str]:
    return [line.split()[0] for line in tandem("--help")[1].split("Commands:")[1].splitlines() if line.strip()]


def test_help_lists_every_subcommand_in_a_line(tandem: Tandem) -> None:
    assert {"doctor", "status", "backtest", "diff", "run", "serve", "sync", "attest", "land"} <= set(
        subcommands(tandem)
    )
    assert "..." not in tandem("--help")[1].split("Commands:")[1], "no line is cut off"


def test_every_subcommand_has_help_with_an_example(tandem: Tandem) -> None:
    for name in subcommands(tandem):
        words = [name, *GROUPS.get(name, ())]
        code, out, _ = tandem(*words, "--help")
        assert code == 0
        assert f"Example: tandem {' '.join(words)}" in out


def test_what_prints_facts_can_print_them_as_json(tandem: Tandem) -> None:
    for name in ("doctor", "status", "backtest", "diff"):
        assert "--json" in tandem(name, "--help")[1]


def test_help_imports_nothing_that_takes_long(built: Workspace) -> None:
    heavy = {
        "rich",
        "numpy",
        "polars",
        "duckdb",
        "xgboost",
        "mlflow",
        "prefect",
        "dvc",
        "pydantic",
        "yaml",
        "sqlglot",
        "uvicorn",
    }
    listing = "import sys, atexit; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); sys.argv = ['tandem', '--help']; from flows.cli import main; main()"
    done = command(built.root, "python", "-c", listing)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: tandem")
    assert {name.split(".")[0] for name in done.stderr.split()} & heavy == set()


def test_an_unknown_word_is_told_with_the_way_to_help(tandem: Tandem) -> None:
    code, _, err = tandem("trian")
    assert code == 2
    assert "trian" in err
    assert "tandem --help" in err


def test_an_error_of_ours_is_one_message(tandem: Tandem, tmp_path: Path) -> None:
    code, out, err = tandem("run", folder=tmp_path)
    assert (code, out) == (1, "")
    assert err == f"there is no params.yaml in {tmp_path}: go to the project's folder, where it is\n"
    assert len(err.splitlines()) == 1


def test_a_reader_that_has_left_is_no_error(built: Workspace) -> None:
    words = [sys.executable, "-m", "flows.cli", "diff", "data/parcels/bundle", "data/parcels/bundle", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    environment = os.environ | {"PYTHONPATH": str(built.root), "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(words, cwd=built.root, env=environment, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_doctor_finds_what_is_there(tandem: Tandem) -> None:
    code, out, _ = tandem("doctor", "--json")
    found = {check["name"]: check for check in json.loads(out)}
    assert list(found) == ["python", "memory", "disk", "packages", "git", "engine", "terraform", "user"]
    assert found["python"]["ok"]
    assert code == (0 if all(check["ok"] for check in found.values()) else 1)
    words = tandem("doctor")[1]
    assert all(name in words for name in found)


def test_doctor_ends_with_1_and_the_command_that_mends(tandem: Tandem, rebuilt: Workspace) -> None:
    with (rebuilt.root / "requirements.lock").open("a") as lock:
        lock.write("no-such-package==1.0 \\\n")
    code, out, _ = tandem("doctor", folder=rebuilt.root)
    assert code == 1
    line = next(line for line in out.splitlines() if "packages" in line)
    assert line.startswith("MISSING")
    assert "not no-such-package" in line
    assert line.endswith("make setup")


@using_dvc
def test_status_tells_what_never_ran_from_what_is_cached_and_what_changed(
    tandem: Tandem, committed: Workspace, tmp_path: Path
) -> None:
    fresh = copy_tree(tmp_path / "fresh")
    (fresh / ".dvc" / "config").write_text("[core]\n no_scm = true\n")
    (fresh / "data" / "sources.lock").write_bytes(committed.lock.read_bytes())
    assert stages_of(tandem, fresh) == dict.fromkeys(STAGES, "never run")
    assert stages_of(tandem, committed.root) == dict.fromkeys(STAGES, "cached")
    params = committed.root / "params.yaml"
    params.write_text(params.read_text().replace("  miss: 2.0", "  miss: 2.5").replace("  auc: 0.70", "  auc: 0.71"))
    code, out, _ = tandem("status", folder=committed.root)
    states = dict(line.split() for line in out.split("\n\n")[0].splitlines()[1:])
    assert (code, list(states)) == (0, list(STAGES))
    assert {stage for stage, state in states.items() if state == "changed"} == {"evaluate", "bundle"}


@using_dvc
def test_status_tells_what_is_being_made(tandem: Tandem, committed: Workspace) -> None:
    views = committed.data / "views"
    another = {"pid": os.getppid(), "cmd": "dvc repro"}
    held = committed.root / ".dvc" / "tmp" / "rwlock"
    held.write_text(json.dumps({"write": {str(views): another}, "read": {}}))
    states = stages_of(tandem, committed.root)
    assert {stage for stage, state in states.items() if state == "busy"} == {"views", "training_set", "bundle"}
    assert set(states.values()) == {"busy", "cached"}


@using_dvc
def test_status_tells_when_the_schedule_last_did_its_work(tandem: Tandem, committed: Workspace) -> None:
    folder = committed.root / "var" / "schedule"
    shutil.rmtree(folder, ignore_errors=True)  # what other tests may have left in the workspace that is copied
    code, out, _ = tandem("status", folder=committed.root)
    assert [line.split() for line in out.splitlines()[-2:]] == [["pipeline", "never"], ["refresh", "never"]]
    code, _, err = tandem("status", "--within", "60", folder=committed.root)
    assert (code, err) == (7, "no pipeline and no refresh ended in the last 60 minutes\n")
    ended(folder, "pipeline", AS_OF + timedelta(hours=5), AS_OF)
    assert tandem("refresh", folder=committed.root)[0] == 0
    code, out, _ = tandem("status", "--within", "60", folder=committed.root)
    assert code == 0
    assert [line.split()[0::3][:1] + line.split()[-2:] for line in out.splitlines()[-2:]] == [
        ["pipeline", "2024-04-15", "00:00:00"],
        ["refresh", "2024-04-15", "00:00:00"],
    ]
    code, out, err = tandem("status", "--json", "--within", "0", folder=committed.root)
    said = json.loads(out)["flows"]["pipeline"]
    assert (code, said["world"], said["until"]) == (7, "2024-04-15T05:00:00", "2024-04-15T00:00:00")


def test_status_outside_a_repository_says_what_to_do(tandem: Tandem, rebuilt: Workspace, tmp_path: Path) -> None:
    assert "go to the project's folder, where it is" in tandem("status", folder=tmp_path)[2]
    code, _, err = tandem("status", folder=rebuilt.root)
    assert code == 1
    assert "`dvc config core.no_scm true`" in err
    assert "Traceback" not in err
    (rebuilt.root / "dvc.yaml").unlink()
    assert "has no dvc.yaml: run this in the project's folder" in tandem("status", folder=rebuilt.root)[2]


@using_dvc
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("params.yaml", "", "params.yaml is not valid:"),
        ("params.yaml", "a: [", "params.yaml cannot be read: "),
        ("params.yaml", "\nproblem: parcels\n", "DVC cannot go by dvc.yaml: .*'params.yaml'.* duplicate key"),
        ("dvc.yaml", "a: [", "DVC cannot go by dvc.yaml: unable to read: 'dvc.yaml', .* line .*`git diff"),
        ("dvc.yaml", "stages: {one: {cmd: 'echo ${two}'}}", "DVC cannot go by dvc.yaml: .*Could not find 'two'"),
    ],
)
def test_what_dvc_cannot_read_is_told_without_a_traceback(
    tandem: Tandem, committed: Workspace, name: str, text: str, said: str
) -> None:
    file = committed.root / name
    file.write_text(file.read_text() + text if text.startswith("\n") else text)
    for words in ("status", "run"):
        code, out, err = tandem(words, folder=committed.root)
        assert (code, out) == (1, "")
        assert re.match(said, err)
        assert "Traceback" not in err


@using_dvc
def test_run_says_what_was_cached_and_shows_the_figures(tandem: Tandem, committed: Workspace) -> None:
    code, out, err = tandem("run", folder=committed.root)
    assert code == 0, err
    assert [line.split()[:2] for line in out.splitlines()[: len(STAGES)]] == [[stage, "cached"] for stage in STAGES]
    for model in ("model", "rates", "logistic", "defaults", "without_history"):
        assert f"\n{model} " in out, "the model's figures stand beside the baselines'"


@using_dvc
def test_run_trains_nothing_for_another_gate_and_ends_with_3_if_it_fails(tandem: Tandem, committed: Workspace) -> None:
    params = committed.root / "params.yaml"
    params.write_text(params.read_text().replace("  ece: 0.10", "  ece: 0.0"))
    code, out, err = tandem("run", folder=committed.root)
    assert code == 3
    assert [line.split()[0] for line in out.splitlines() if line.split()[1] == "ran"] == ["evaluate"]
    assert [line for line in out.splitlines() if line.startswith("bundle")] == [
        "bundle        failed  no bundle: 1 of 7 gates failed"
    ]
    assert "stage bundle failed, and what depends on it was not run: no bundle: 1 of 7 gates failed\n  ece: " in err
    assert Bundle.open(committed.data / "bundle"), "what was there stays"


@using_dvc
def test_a_stage_that_cannot_begin_says_why(tandem: Tandem, committed: Workspace) -> None:
    committed.lock.unlink()
    code, _, err = tandem("run", folder=committed.root)
    assert code == 1
    assert "stage ingest failed" in err
    assert "no data/sources.lock, which it depends on: `git checkout data/sources.lock` brings it back" in err


@using_dvc
def test_run_names_a_problem_that_is_not_there(tandem: Tandem, committed: Workspace) -> None:
    params = committed.root / "params.yaml"
    params.write_text(params.read_text().replace("problem: parcels", "problem: unicorns"))
    code, out, err = tandem("run", folder=committed.root)
    assert (code, out) == (1, "")
    assert err.startswith("params.yaml names problem 'unicorns', but there is no /")
    assert err.endswith("/problems/unicorns/\n")


def test_a_forced_run_runs_what_has_not_changed(committed: Workspace) -> None:
    graph = Graph(committed.root)
    assert not graph.run("evaluate").ran
    assert graph.run("evaluate", force=True).ran


def sums(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_backtest_gives_the_figures_of_what_came_later_and_changes_nothing(tandem: Tandem, built: Workspace) -> None:
    before = sums(built.root)
    code, out, _ = tandem("backtest", "--until", UNTIL, "--json")
    assert (code, sums(built.root)) == (0, before)
    result = json.loads(out)
    assert result.keys() == {"overall", "months", "baselines"}
    assert result["overall"].keys() >= FIGURES
    assert list(result["months"]) == ["2024-04"]
    assert result["baselines"].keys() == {"rates", "logistic", "without_history"}
    assert all(of.keys() >= FIGURES for part in ("months", "baselines") for of in result[part].values())
    assert sum(of["rows"] for of in result["months"].values()) == result["overall"]["rows"] > 300
    assert result["overall"]["auc"] > result["baselines"]["without_history"]["auc"] > 0.5
    assert 0 < result["overall"]["log_loss"] < result["baselines"]["rates"]["log_loss"]


def test_backtest_judges_what_was_known_by_then_only(tandem: Tandem) -> None:
    sooner, later = (json.loads(tandem("backtest", "--until", day, "--json")[1]) for day in ("2024-04-20", UNTIL))
    assert 0 < sooner["overall"]["rows"] < later["overall"]["rows"]


def test_backtest_takes_a_bundle_from_anywhere(tandem: Tandem, rebuilt: Workspace, tmp_path: Path) -> None:
    moved = (rebuilt.data / "bundle").rename(tmp_path / "old")
    words = ("backtest", "--until", UNTIL)
    code, _, err = tandem(*words, folder=rebuilt.root)
    assert (code, "holds no bundle" in err) == (1, True)
    code, out, _ = tandem(*words, "--bundle", str(moved), folder=rebuilt.root)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        "all",
        "2024-04",
        "rates",
        "logistic",
        "without_history",
    ]


@pytest.mark.parametrize("until", ["2024-04-15", "2020-01-01"])
def test_backtest_of_nothing_says_so(tandem: Tandem, until: str) -> None:
    code, _, err = tandem("backtest", "--until", until)
    assert code == 1
    assert f"labels known from 2024-04-15 00:00:00 until {until} 00:00:00: 0 rows, need at least 1" in err


def test_backtest_needs_a_date(tandem: Tandem) -> None:
    assert tandem("backtest", "--until", "Tuesday")[0] == 2


def test_land_takes_a_file_in_and_refuses_one_that_is_not_what_it_should_be(
    tandem: Tandem, empty: Workspace, raw: list[tuple[str, Path]]
) -> None:
    root = copy_tree(empty.root)
    source, file = raw[0]
    code, out, _ = tandem("land", source, str(file), folder=root)
    assert code == 0
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert out == f"landed {digest[:12]} as parcels/{source}, no facts\n"
    assert digest in (root / "data" / "sources.lock").read_text()
    code, _, err = tandem("land", "letters", str(file), folder=root)
    assert (code, err) == (1, "problem parcels has no source 'letters': it has depots, orders, events\n")
