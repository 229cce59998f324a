"""`step` and `operation`: a typed function that is Prefect's task or flow inside a run, and plain outside.

Prefect costs 1.7 s to import, so it is imported only when a run is there or an API is named. Looking costs
less than 4 us.
"""

import logging
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from tandem.errors import TandemError
from tandem.params import Params
from tandem.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


def _in_prefect_run() -> bool:
    context = sys.modules.get("prefect.context")
    return context is not None and (context.FlowRunContext.get() or context.TaskRunContext.get()) is not None


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Make a verb: inside a Prefect flow run it shows as a task, elsewhere it is the function itself.

    Prefect sees neither arguments nor result: it would walk through them, and keep them until the flow's end.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not _in_prefect_run():
            return function(*args, **kwargs)
        from prefect import task  # noqa: PLC0415 - 1.7 s
        from prefect.cache_policies import NO_CACHE  # noqa: PLC0415

        given: list[R] = []
        show: Any = task
        shown = show(name=function.__name__, cache_policy=NO_CACHE, persist_result=False)
        shown(lambda: given.append(function(*args, **kwargs)))()
        return given[0]

    return called


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Make a sentence: with a Prefect API named it shows as a flow run, elsewhere it is the function itself."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if not os.environ.get("PREFECT_API_URL") and not _in_prefect_run():
            return function(*args, **kwargs)
        from prefect import flow  # noqa: PLC0415 - 1.7 s

        show: Any = flow
        shown = show(function, name=function.__name__, validate_parameters=False, persist_result=False)
        return cast("R", shown(*args, **kwargs))

    return called


def entry(stage: Callable[[Params, Settings], None]) -> None:
    """Run a stage as a process: read params and settings, show a failure in its own words, exit with its code."""
    logging.basicConfig(format="%(message)s")
    for layer in ("flows", "tasks", "tandem"):
        logging.getLogger(layer).setLevel(logging.INFO)
    try:
        stage(Params.load(), Settings.load())
    except TandemError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(exc.exit_code)
