"""`step` and `operation`: a typed function that is Prefect's task or flow inside a run, and plain outside.

Prefect costs 1.7 s to import, so it is imported only when a run is there or an API is named. Looking costs
less than 4 us.
"""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable
from functools import wraps
from threading import Thread
from typing import ParamSpec, TypeVar

from tandem import log
from tandem.errors import TandemError
from tandem.params import Params
from tandem.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

RETRIES = 3
WALKER = "TANDEM_WALKER"
"""Who walks the graph, where a stage's process is one of its steps."""

_LOG = logging.getLogger(__name__)


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Make a verb: inside a Prefect flow run it shows as a task, elsewhere it is the function itself."""
    return _step(function, retries=0)


def step_outside(function: Callable[P, R]) -> Callable[P, R]:
    """Make a verb that needs the outside, a network or a server: as a task it is tried again where that failed."""
    return _step(function, retries=RETRIES)


def _step(function: Callable[P, R], *, retries: int) -> Callable[P, R]:
    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not in_prefect_run():
            return function(*args, **kwargs)
        from tandem import prefect_runs  # noqa: PLC0415

        return prefect_runs.as_task(function.__name__, lambda: function(*args, **kwargs), retries=retries)

    return called


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Make a sentence: with a Prefect API named it shows as a flow run, elsewhere it is the function itself."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not os.environ.get("PREFECT_API_URL") and not in_prefect_run():
            return function(*args, **kwargs)
        from tandem import prefect_runs  # noqa: PLC0415

        return prefect_runs.as_flow(function, *args, **kwargs)

    return called


def in_prefect_run() -> bool:
    """Tell whether a Prefect run is going on here."""
    context = sys.modules.get("prefect.context")
    return context is not None and (context.FlowRunContext.get() or context.TaskRunContext.get()) is not None


def entry(stage: Callable[[Params, Settings], None]) -> None:
    """Run a stage as a process: read params and settings, tell a failure in its own words, exit with its code."""
    log.set_up()
    if WALKER in os.environ and hasattr(os, "pidfd_open"):
        _end_with(int(os.environ[WALKER]))
    try:
        stage(Params.load(), Settings.load())
    except TandemError as exc:
        log.failed(_LOG, exc, stage.__name__)
        sys.exit(exc.exit_code)
    except Exception as exc:  # whatever it is, the walker of the graph is told before it ends
        if not log.is_told():
            raise
        log.failed(_LOG, exc, stage.__name__)
        sys.exit(1)


def _end_with(walker: int) -> None:
    """Be killed with the walker: what is left running would write over what the next walk makes."""

    def wait() -> None:
        select.select([watched], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        watched = os.pidfd_open(walker)
    except ProcessLookupError:  # killed before we looked
        sys.exit(128 + signal.SIGKILL)
    Thread(target=wait, daemon=True).start()
