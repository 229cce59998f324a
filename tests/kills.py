"""Kill workers under load, as often as is asked: `PYTHONPATH=tests python tests/kills.py 200`; the tests do it 20 times."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from conftest import STAGES, copy_tree, workspace_at
from raw_parcels import write_all
from workers import check_remembered, kill_under_load, worker

from flows.refresh import refresh
from tandem.problem import load_problem


def main(times: int) -> None:
    """Build the tests' own problem, and kill by each promise in turn."""
    with TemporaryDirectory(prefix="tandem-") as folder:
        workspace = workspace_at(copy_tree(Path(folder) / "workspace"))
        (Path(folder) / "raw").mkdir()
        for source, file in write_all(Path(folder) / "raw"):
            workspace.land(source, file)
        workspace.run(*STAGES)
        refresh(workspace.params, workspace.settings)
        example = load_problem("parcels").example()
        for durability in ("process", "power"):
            told = kill_under_load(workspace.root, example, times // 2, {"TANDEM_DURABILITY": durability})
            with worker(workspace.root):
                pass
            check_remembered(workspace.settings.ledger, told)
            sys.stdout.write(f"{durability}: {len(told.ids)} answers through {times // 2} kills, each there once\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
