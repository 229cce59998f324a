"""One run of the whole graph that several tests look at; a Prefect server."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import fast_tree, tandem
from prefect_server import LONGEST, free_port, wait_for


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `tandem run` has made everything, and what it printed."""
    folder = fast_tree(tmp_path_factory.mktemp("run") / "tandem")
    done = tandem(folder, "run")
    assert done.returncode == 0, done.stderr + done.stdout
    return folder, done.stdout


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real Prefect server, as the environment that names it."""
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    quiet = {
        "PREFECT_HOME": str(tmp_path_factory.mktemp("prefect")),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(LONGEST),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    words = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    mute = subprocess.DEVNULL
    with subprocess.Popen(words, env=os.environ | quiet, stdout=mute, stderr=mute, start_new_session=True) as server:
        try:
            wait_for(server, api)
            yield quiet | {"PREFECT_API_URL": api}
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()
