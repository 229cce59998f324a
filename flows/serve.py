"""Serve a bundle over HTTP, in the foreground, until SIGTERM or Ctrl-C."""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn

from tandem.bundle import Bundle
from tandem.params import Params
from tandem.problem import load_problem
from tandem.serving.app import App
from tandem.serving.model import Model
from tandem.settings import Settings
from tasks.snapshot import snapshot_at
from tasks.training_set import newest_tick


def serve(folder: Path | None, params: Params, settings: Settings, host: str, port: int) -> None:
    """Check the bundle, take the views' values as of its day, and answer."""
    problem = load_problem(params.problem)
    data = settings.of(problem.name)
    bundle = Bundle.open(folder or data / "bundle")
    tick = newest_tick(bundle.as_of, params.features)
    model = Model(bundle, snapshot_at(data / "views", bundle.spec, tick), tick, bundle.as_of)
    with socket.create_server((host, port)) as listening:
        address = f"http://{host}:{listening.getsockname()[1]}"
        sys.stderr.write(invitation(problem.example(), bundle.digest, address))
        config = uvicorn.Config(App(model), log_level="warning", lifespan="off", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def invitation(example: dict[str, Any], digest: str, address: str) -> str:
    """Say where the bundle is served, with a request that works."""
    body = json.dumps({"instances": [example]})
    return f"\ncurl {address}/v1/predict -d '{body}'\n\nserving bundle {digest[:12]} on {address}\n"
