"""What prefect.yaml deploys: each is woken by its schedule, and does all that is due by then."""

from collections.abc import Callable
from inspect import unwrap
from typing import Any

from prefect import State, flow
from prefect.states import Completed

from flows.compact import compact as closed_segments
from flows.due import due as due_days
from flows.refresh import refresh as due_ticks
from tandem import log
from tandem.errors import BusyError
from tandem.params import Params
from tandem.prefect_runs import mute_the_end
from tandem.settings import Settings


def _shown(call: Callable[[], Any], what: str) -> State[Any]:
    """Say in a word how it ended; one that is not alone leaves the work to the other."""
    log.set_up()
    mute_the_end()
    try:
        done = call()
    except BusyError as exc:
        return Completed(name="Busy", message=str(exc))
    return Completed(message=f"{len(done)} {what}", name=None if done else "Nothing due")


@flow(name="train", persist_result=False)
def train() -> State[Any]:
    """Train as of each closed day that has come since the last, and publish each bundle."""
    return _shown(lambda: unwrap(due_days)(Settings.load()), "days")


@flow(name="refresh", persist_result=False)
def refresh() -> State[Any]:
    """Write the snapshot of each tick that has come since the last."""
    return _shown(lambda: unwrap(due_ticks)(Params.load(), Settings.load()), "snapshots")


@flow(name="compact", persist_result=False)
def compact() -> State[Any]:
    """Make Parquet of the ledger's segments that were closed since the last time."""
    return _shown(lambda: unwrap(closed_segments)(Settings.load()).made, "segments")
