"""What docs/operations.md tells to run in workspaces that stand is run, in its order."""

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from pages import blocks, page
from stood import Stood, until

from tasks.containers import wake

SHELL = [block.text for block in blocks(page("docs/operations.md")) if block.language == "sh"]


@pytest.fixture
def grown(dev: Stood, prod: Stood) -> Stood:
    """Dev answers and has a second bundle, of a later day; prod has one of its own."""
    until(dev.answers, "dev answers")
    until(prod.has_published, "prod trained and published")
    dev.run("platform", "tandem", "keys", "remove", "till", ok=False)
    dev.run("platform", "tandem", "clock", "set", (dev.now() + timedelta(days=2)).isoformat())
    wake(dev.place)
    until(lambda: dev.has_published(2), "a later day has a bundle of its own")
    return dev


def test_what_operations_tell_to_run_runs(grown: Stood, tmp_path: Path) -> None:
    assert SHELL
    for words in SHELL:
        command = ["/bin/bash", "-euo", "pipefail", "-c", words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, words + done.stdout + done.stderr
    assert grown.answers()
