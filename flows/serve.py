"""Serve a bundle over HTTP, in the foreground, until SIGTERM or Ctrl-C."""

import sys
from pathlib import Path

import uvicorn

from tandem.bundle import Bundle
from tandem.params import Params
from tandem.serving.app import App
from tandem.serving.model import Model
from tandem.settings import Settings
from tasks.snapshot import snapshot_at
from tasks.training_set import newest_tick


def serve(folder: Path | None, params: Params, settings: Settings, host: str, port: int) -> None:
    """Check the bundle, take the views' values as of its day, and answer."""
    data = settings.of(params.problem)
    bundle = Bundle.open(folder or data / "bundle")
    tick = newest_tick(bundle.as_of, params.features)
    model = Model(bundle, snapshot_at(data / "views", bundle.spec, tick), tick, bundle.as_of)
    sys.stderr.write(f"serving bundle {bundle.digest[:12]} on http://{host}:{port}\n")
    uvicorn.run(App(model), host=host, port=port, log_level="warning", lifespan="off", access_log=False)
