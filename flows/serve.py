"""Serve a bundle over HTTP, in the foreground, until SIGTERM or Ctrl-C."""

import json
import socket
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import uvicorn

from tandem.bundle import Bundle
from tandem.features import FeatureSpec
from tandem.params import Params
from tandem.problem import load_problem
from tandem.serving.app import App
from tandem.serving.model import Model
from tandem.settings import Settings
from tandem.vectors import Snapshot


def serve(folder: Path | None, params: Params, settings: Settings, host: str, port: int) -> None:
    """Check the bundle, take the views' values as of its day, and answer."""
    problem = load_problem(params.problem)
    data = settings.of(problem.name)
    bundle = Bundle.open(folder or data / "bundle")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        tick, snapshot = apart.submit(due_snapshot, data / "views", bundle.spec, bundle.as_of).result()
    model = Model(bundle, snapshot, tick, bundle.as_of)
    with socket.create_server((host, port)) as listening:
        address = f"http://{host}:{listening.getsockname()[1]}"
        sys.stderr.write(invitation(problem.example(), bundle.digest, address))
        config = uvicorn.Config(App(model), log_level="warning", lifespan="off", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def due_snapshot(views: Path, spec: FeatureSpec, moment: datetime) -> tuple[datetime, Snapshot]:
    """Give the newest tick that requests of a moment may use, and its snapshot; what it takes, serving does without."""
    from tasks.snapshot import snapshot_at  # noqa: PLC0415
    from tasks.training_set import newest_tick  # noqa: PLC0415

    tick = newest_tick(moment, spec.grid)
    return tick, snapshot_at(views, spec, tick)


def invitation(example: dict[str, Any], digest: str, address: str) -> str:
    """Say where the bundle is served, with a request that works."""
    body = json.dumps({"instances": [example]})
    return f"\ncurl {address}/v1/predict -d '{body}'\n\nserving bundle {digest[:12]} on {address}\n"
