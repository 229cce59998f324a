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
from tandem.clock import Clock
from tandem.errors import MissingError
from tandem.params import Params
from tandem.problem import load_problem
from tandem.serving.app import App
from tandem.serving.model import Model
from tandem.settings import Settings
from tandem.snapshots import Named, Snapshot


def serve(folder: Path | None, params: Params, settings: Settings, host: str, port: int) -> None:
    """Check the bundle, bring what is known up to world time, and answer."""
    problem = load_problem(params.problem)
    bundle = Bundle.open(folder or settings.of(problem.name) / "bundle")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # what it loads, serving does without
        apart.submit(refresh, params, settings).result()
    moment = Clock.of(problem, params, settings).now()
    model = Model(bundle, due_snapshot(settings.snapshots, bundle, moment), moment)
    with socket.create_server((host, port)) as listening:
        address = f"http://{host}:{listening.getsockname()[1]}"
        sys.stderr.write(invitation(problem.example(), bundle.digest, address))
        config = uvicorn.Config(App(model), log_level="warning", lifespan="off", access_log=False)
        uvicorn.Server(config).run(sockets=[listening])


def refresh(params: Params, settings: Settings) -> None:
    """Write the snapshots that are due."""
    from flows.refresh import refresh as flow  # noqa: PLC0415

    flow(params, settings)


def due_snapshot(folder: Path, bundle: Bundle, moment: datetime) -> Snapshot:
    """Open the newest snapshot that requests of a moment may use.

    Raises:
        MissingError: there is none.

    """
    usable = [named for named in Named.all(folder) if named.tick <= moment - bundle.spec.grid.lag]
    if not usable:
        msg = f"{folder} holds no snapshot for {moment}: `tandem refresh` writes it"
        raise MissingError(msg)
    snapshot = Snapshot.open(usable[-1].path)
    snapshot.fits(bundle.spec)
    return snapshot


def invitation(example: dict[str, Any], digest: str, address: str) -> str:
    """Say where the bundle is served, with a request that works."""
    body = json.dumps({"instances": [example]})
    return f"\ncurl {address}/v1/predict -d '{body}'\n\nserving bundle {digest[:12]} on {address}\n"
