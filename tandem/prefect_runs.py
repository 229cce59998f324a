"""What Prefect is told: the only module that imports it, and only once a run is there or is asked for."""

import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast
from urllib.error import URLError
from urllib.request import urlopen
from uuid import UUID

from tandem.errors import MissingError, TandemError, TrackerError, UnreachableError
from tandem.run import in_prefect_run

R = TypeVar("R")

API, PARENT = "PREFECT_API_URL", "TANDEM_PARENT"
"""Where the server is; and which run's task a stage's process belongs to, as `<flow run>/<task run>`."""
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
}
LONGEST = 120
RETRY_DELAYS = [2, 10, 60]
"""Seconds before each next try."""
DIE_WITH_PARENT = 1


def quiet() -> None:
    """Let Prefect say nothing, unless its own variables ask it to.

    It keeps what tasks worked with to the very end, where the bindings of DuckDB complain of that on stderr.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "prefect" not in sys.modules:  # so that this comes after all that Prefect does at the end
        mute_the_end()


def mute_the_end() -> None:
    """Let nothing be heard of this process once it ends."""
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno()))


def as_task(
    name: str, call: Callable[[], R], word: Callable[[R], str | None] = lambda _: None, *, retries: int = 0
) -> R:
    """Call inside of a task run, whose end may be shown by a word of its own; tried again if the outside failed.

    Prefect sees neither arguments nor result: it would walk through them, and keep them until the flow's end.
    """
    from prefect import task  # noqa: PLC0415 - 1.7 s
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415
    from prefect.states import Completed  # noqa: PLC0415

    given: list[R] = []

    def called() -> Any:  # noqa: ANN401 - Prefect's state, or nothing
        given.append(call())
        said = word(given[0])
        return Completed(name=said) if said else None

    show: Any = task
    show(
        called,
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=retries,
        retry_delay_seconds=RETRY_DELAYS[:retries],
        retry_condition_fn=_is_of_the_outside,
    )()
    return given[0]


def _is_of_the_outside(_task: object, _run: object, state: Any) -> bool:  # noqa: ANN401 - Prefect's
    """Tell what may be over soon from what is wrong: an error of ours is final, unless it says that it is not."""
    exc = state.result(raise_on_failure=False)
    return not isinstance(exc, TandemError) or isinstance(exc, (UnreachableError, TrackerError))


def as_flow(function: Callable[..., R], *args: Any, **kwargs: Any) -> R:  # noqa: ANN401 - the function's own
    """Call as a flow run; below the task of another process if that started this one."""
    quiet()
    from prefect import flow  # noqa: PLC0415 - 1.7 s

    show: Any = flow
    shown = show(function, name=function.__name__, validate_parameters=False, persist_result=False)
    if (parent := os.environ.pop(PARENT, None)) and not in_prefect_run():
        return cast("R", _below(parent, shown, args, kwargs))
    return cast("R", shown(*args, **kwargs))


def _below(parent: str, shown: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401 - Prefect's
    """Run a flow below a task run of another process: Prefect ties them by a task run that stands for the flow."""
    from prefect import task  # noqa: PLC0415
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.client.schemas.objects import TaskRunResult  # noqa: PLC0415
    from prefect.flow_engine import run_flow  # noqa: PLC0415
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: PLC0415
    from prefect.states import Pending  # noqa: PLC0415
    from prefect.utilities.callables import get_call_parameters  # noqa: PLC0415

    flow_run, task_run = map(UUID, parent.split("/"))
    with get_client(sync_client=True) as client:
        stands_for = client.create_task_run(
            task=cast("Any", task)(shown.fn, name=shown.name),
            flow_run_id=flow_run,
            dynamic_key=f"{shown.name}-{task_run}",
            task_inputs={"__parents__": [TaskRunResult(id=task_run)]},
            state=Pending(),
        )
        below = client.create_flow_run(shown, parent_task_run_id=stands_for.id, state=Pending())
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):  # 1 s; who started this sees how it ends
        return run_flow(shown, flow_run=below, parameters=get_call_parameters(shown.fn, args, kwargs))


def here() -> dict[str, str]:
    """Give the environment that lets another process show its flow below this task run; none outside of a run."""
    if not in_prefect_run():
        return {}
    from prefect.context import FlowRunContext, TaskRunContext  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    flow_run, task_run = FlowRunContext.get(), TaskRunContext.get()
    if not (flow_run and flow_run.flow_run and task_run):
        return {}
    return {API: str(PREFECT_API_URL.value()), PARENT: f"{flow_run.flow_run.id}/{task_run.task_run.id}"}


def nowhere() -> dict[str, str]:
    """Give the environment in which another process shows nothing."""
    return {API: ""}


@contextmanager
def server() -> Iterator[None]:
    """Be sure of a Prefect server: the one that is named, or one that ends with this process, however it ends."""
    quiet()
    from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: PLC0415

    if PREFECT_API_URL.value():
        yield
        return
    with TemporaryDirectory(prefix="tandem-prefect-") as home, socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        held.close()
        url = f"http://127.0.0.1:{port}/api"
        with _started(home, port) as process:
            _wait(f"{url}/health", process)
            os.environ[API] = url
            try:
                with temporary_settings({PREFECT_API_URL: url}):
                    yield
            finally:
                del os.environ[API]


@contextmanager
def _started(home: str, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    own = {"PREFECT_HOME": home, "PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    application = ("--factory", "prefect.server.api.server:create_app", "--lifespan", "on", "--log-level", "error")
    words = [sys.executable, "-m", "uvicorn", *application, "--host", "127.0.0.1", "--port", str(port)]
    mute, library = subprocess.DEVNULL, ctypes.CDLL(None)
    process = subprocess.Popen(  # noqa: S603 - our own words
        words,
        env=os.environ | QUIET | own,
        stdin=mute,
        stdout=mute,
        stderr=mute,
        start_new_session=True,  # Ctrl-C is for us, who then end it
        preexec_fn=lambda: library.prctl(DIE_WITH_PARENT, signal.SIGKILL),  # noqa: PLW1509 - no thread runs yet
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(url, timeout=5):  # noqa: S310 - our own server
                return
        except (URLError, OSError):
            time.sleep(0.1)
    msg = "the temporary Prefect server did not come up"
    raise MissingError(msg)
