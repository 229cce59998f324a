"""MLflow's database is whole or not there."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import ROOT

from tandem.mlflow_client import FILE, client_at

OPEN = "import sys; from tandem.mlflow_client import client_at; client_at(sys.argv[1])"


def test_who_is_killed_while_it_is_made_leaves_none(tmp_path: Path) -> None:
    database = tmp_path / "mlflow" / "mlflow.db"
    with subprocess.Popen([sys.executable, "-c", OPEN, f"{FILE}{database}"], cwd=ROOT) as opening:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.glob("mlflow/.mlflow.db.*")):
            assert opening.poll() is None, "it was made before anybody could look"
            assert time.monotonic() < deadline
        opening.kill()
    assert not database.exists()
    client = client_at(f"{FILE}{database}")
    assert [each.name for each in client.search_experiments()] == ["Default"]


def test_of_several_who_make_it_each_goes_on_with_the_same(tmp_path: Path) -> None:
    uri = f"{FILE}{tmp_path / 'mlflow.db'}"
    words = [sys.executable, "-c", f"{OPEN}.create_experiment(sys.argv[2])", uri]
    with ThreadPoolExecutor() as side_by_side:
        runs = [side_by_side.submit(subprocess.run, [*words, name], cwd=ROOT, check=True) for name in ("a", "b")]
        for run in runs:
            run.result()
    assert {each.name for each in client_at(uri).search_experiments()} == {"Default", "a", "b"}
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
