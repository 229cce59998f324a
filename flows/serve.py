"""Serve what traffic says over HTTP, in the foreground, until SIGTERM or Ctrl-C."""

import json
import socket
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from ipaddress import ip_address
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tandem.clock import Clock
from tandem.params import Params
from tandem.problem import load_problem
from tandem.serving.served import Source
from tandem.serving.server import Worker, work
from tandem.serving.traffic import TRAFFIC
from tandem.settings import Settings


def serve(folder: Path | None, params: Params, settings: Settings, host: str, port: int) -> None:
    """Bring what is served and what is known up to date, and answer."""
    problem = load_problem(params.problem)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # what it loads, serving does without
        apart.submit(prepare, params, settings).result()
    if folder is None and not (settings.serving / TRAFFIC).exists():
        folder = settings.of(problem.name) / "bundle"
    source = Source(settings.serving, folder)
    clock = partial(Clock.of, problem, params, settings)
    with socket.create_server((host, port)) as listening:
        address = f"http://{host}:{listening.getsockname()[1]}"
        make = partial(Worker, source, clock, settings, keys_required=not is_loopback(host))
        work(make, listening, settings.drain_seconds, partial(invite, problem.example(), address))


def prepare(params: Params, settings: Settings) -> None:
    """Write the snapshots that are due."""
    from flows.refresh import refresh  # noqa: PLC0415

    refresh(params, settings)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def invite(example: dict[str, Any], address: str) -> None:
    """Say where it is served, with a request that works."""
    body = json.dumps({"instances": [example]})
    sys.stderr.write(f"\ncurl {address}/v1/predict -d '{body}'\n\nserving on {address}\n")
