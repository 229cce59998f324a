"""One run of the whole graph that several tests look at."""

from pathlib import Path

import pytest
from commands import fast_tree, tandem


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `tandem run` has made everything, and what it printed."""
    folder = fast_tree(tmp_path_factory.mktemp("run") / "tandem")
    done = tandem(folder, "run")
    assert done.returncode == 0, done.stderr + done.stdout
    return folder, done.stdout
