"""Serve what traffic says over HTTP, in the foreground, until SIGTERM or Ctrl-C."""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tandem.params import Params
from tandem.problem import load_problem
from tandem.serving.traffic import TRAFFIC
from tandem.settings import Settings
from tandem.workers import Workers, reserved


def serve(folder: Path | None, params: Params, settings: Settings, address: tuple[str, int], count: int = 1) -> int:
    """Bring what is served and what is known up to date, and answer; give the code to end with."""
    problem = load_problem(params.problem)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # so that nothing it loads stays
        apart.submit(prepare, params, settings).result()
    if folder is None and not (settings.serving / TRAFFIC).exists():
        folder = settings.of(problem.name) / "bundle"
    host = address[0]
    with reserved(*address) as taken:
        words = ["--host", host, "--port", str(taken), *(["--bundle", str(folder)] if folder else [])]
        words += ["--standing", params.as_of.isoformat()] if problem.replayed else []
        workers = Workers([sys.executable, "-m", "tandem.serving", "--attached", *words], count)
        return workers.run(lambda: invite(problem.example(), f"http://{host}:{taken}"))


def prepare(params: Params, settings: Settings) -> None:
    """Write the snapshots that are due."""
    from flows.refresh import refresh  # noqa: PLC0415

    refresh(params, settings)


def invite(example: dict[str, Any], address: str) -> None:
    """Say where it is served, with a request that works."""
    body = json.dumps({"instances": [example]})
    sys.stderr.write(f"\ncurl {address}/v1/predict -d '{body}'\n\nserving on {address}\n")
    sys.stderr.flush()
