"""The whole graph by `tandem run` in a copy of the tree, and a served prediction, over real HTTP."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile

import httpx
import pytest
from conftest import ROOT, copy_tree

ENVIRONMENT = {"TANDEM_TRACKING_URI": "", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(folder)}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = copy_tree(tmp_path_factory.mktemp("run") / "tandem", ROOT / "params.fast.yaml")
    copyfile(ROOT / "data" / "sources.lock", folder / "data" / "sources.lock")
    dvc = command(folder, "dvc", "config", "core.no_scm", "true")
    assert dvc.returncode == 0, dvc.stderr
    done = command(folder, sys.executable, "-m", "flows.cli", "run")
    assert done.returncode == 0, done.stderr + done.stdout
    return folder, done.stdout


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(folder)}
    words = [sys.executable, "-m", "flows.cli", "serve", "--port", "0"]
    with subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = next(line.split()[-1] for line in server.stderr if line.startswith("serving bundle"))
        try:
            yield address
        finally:
            server.terminate()
            server.wait()


def test_the_figures_stand_beside_the_baselines(ran: tuple[Path, str]) -> None:
    for name in ("model", "rates", "logistic", "defaults", "schedule_weather"):
        assert f"\n{name} " in ran[1]


def test_nothing_is_run_twice(ran: tuple[Path, str]) -> None:
    again = command(ran[0], sys.executable, "-m", "flows.cli", "run")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("cached") == 7


def test_the_example_is_answered(ran: tuple[Path, str]) -> None:
    example = json.loads((ROOT / "problems" / "flights" / "example.json").read_text())
    with serving(ran[0]) as address:
        answer = httpx.post(f"{address}/v1/predict", json={"instances": [example, example]})
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert 0 < first["score"] == second["score"] < 1
    assert first["id"] != second["id"]


def test_a_failed_gate_ends_with_3(ran: tuple[Path, str]) -> None:
    params = ran[0] / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("  ece: ", "  ece: 0.0  # "))
    done = command(ran[0], sys.executable, "-m", "flows.cli", "run")
    params.write_text(before)
    assert done.returncode == 3
    assert "no bundle" in done.stderr
