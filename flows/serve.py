"""Serve what traffic says over HTTP, in the foreground, until SIGTERM or Ctrl-C."""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tandem.clock import Clock, wall_now
from tandem.errors import ProblemError, RegistryError, TrafficError
from tandem.params import Params
from tandem.problem import Problem, load_problem
from tandem.serving.synced import Synced
from tandem.serving.traffic import TRAFFIC
from tandem.settings import Settings
from tandem.workers import Workers, reserved


def serve(folder: Path | None, params: Params, settings: Settings, address: tuple[str, int], count: int = 1) -> int:
    """Bring what is served and what is known up to date, and answer; give the code to end with."""
    problem, host = load_problem(params.problem), address[0]
    with reserved(*address) as taken:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # so that nothing it loads stays
            synced = apart.submit(prepare, params, settings, named=folder is not None).result()
        if synced.reason:
            sys.stderr.write(f"{synced.line}\n")
        if folder is None and not (settings.serving / TRAFFIC).exists():
            folder = own_bundle(synced, settings, problem.name)
        words = ["--host", host, "--port", str(taken), *(["--bundle", str(folder)] if folder else [])]
        words += ["--standing", params.as_of.isoformat()] if problem.replayed else []
        beside = [sys.executable, "-m", "flows.cli", "sync", "--watch", "--refresh", "--attached"]
        workers = Workers([sys.executable, "-m", "tandem.serving", "--attached", *words], count, beside)
        return workers.run(lambda: invite(problem, f"http://{host}:{taken}"))


def prepare(params: Params, settings: Settings, *, named: bool) -> Synced:
    """Write the snapshots that are due, and take up what the registry says, unless a bundle is named."""
    from flows.refresh import refresh  # noqa: PLC0415
    from flows.sync import sync  # noqa: PLC0415
    from tandem.registry import Registry  # noqa: PLC0415

    refresh(params, settings)
    if named:
        return Synced(0, 0, wall_now())
    registry = Registry(params.problem, settings, Clock.of(load_problem(params.problem), params, settings))
    try:
        return sync(registry, settings)
    except RegistryError as exc:  # what is laid out can be served without
        return Synced(0, registry.state().generation, wall_now(), reason=str(exc))


def own_bundle(synced: Synced, settings: Settings, problem: str) -> Path:
    """Give the bundle that is served where nobody ever decided who answers.

    Raises:
        TrafficError: somebody did, or the workspace's policy asks for it.

    """
    if synced.wanted or settings.accept != "any":
        msg = f"nothing can be served: {synced.reason or 'by the policy `attested` no bundle without an approval is'}"
        raise TrafficError(msg)
    return settings.of(problem) / "bundle"


def invite(problem: Problem, address: str) -> None:
    """Say where it is served, with a request that works; who lacks one is served all the same."""
    try:
        said = f"curl {address}/v1/predict -d '{json.dumps({'instances': [problem.example()]})}'"
    except ProblemError as exc:
        said = str(exc)
    sys.stderr.write(f"\n{said}\n\nserving on {address}\n")
    sys.stderr.flush()
