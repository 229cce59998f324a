"""What is done again and again: one at a time in a workspace, and when each was done last.

Whoever starts it, a worker, cron or a person, finds the same lock and the same record under var/. The lock is the
kernel's: it ends with its holder, however that ends.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from tandem.clock import wall_now
from tandem.errors import BusyError, LateError, MissingError, ParamsError
from tandem.files import write_text, writing
from tandem.params import Frozen, Instant

DAY = timedelta(days=1)
PIPELINE, REFRESH, COMPACT = "pipeline", "refresh", "compact"
EVERY = re.compile(r"\A([1-9]\d{0,3})d?\Z")
FLOWS = (PIPELINE, REFRESH)
"""What prefect.yaml has done again and again."""


class Ended(Frozen):
    """The last time that something ended well."""

    wall: Instant
    world: Instant
    until: Instant | None
    """All that was due up to here is done."""

    @classmethod
    def load(cls, folder: Path, name: str) -> Self | None:
        """Read when it was; None: never.

        Raises:
            MissingError: what is there is no such record.

        """
        path = folder / f"{name}.json"
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as exc:
            msg = f"{path} does not say when it ended: {exc}. Delete it; what was done is found, and not done twice"
            raise MissingError(msg) from exc


def ended(folder: Path, name: str, world: datetime, until: datetime | None) -> None:
    """Remember that it ended well just now."""
    said = Ended(wall=wall_now(), world=world, until=until)
    write_text(folder / f"{name}.json", said.model_dump_json(indent=1) + "\n")


def last_ended(folder: Path) -> dict[str, Ended | None]:
    """Read of each when it was."""
    return {name: Ended.load(folder, name) for name in FLOWS}


def check_lately(flows: Mapping[str, Ended | None], minutes: float) -> None:
    """Check that each ended in the last minutes of wall time.

    Raises:
        LateError: one did not: its scheduler is dead, or it fails each time.

    """
    since = wall_now() - timedelta(minutes=minutes)
    if late := [name for name, last in flows.items() if last is None or last.wall < since]:
        raise LateError(late, minutes)


@contextmanager
def alone(folder: Path, name: str, wait: float = 0) -> Iterator[None]:
    """Be the only one in this workspace that does it, after some seconds at most.

    Raises:
        BusyError: another one is at it.

    """
    try:
        lock = _locked(folder, name, wait)
    except Timeout as exc:
        raise BusyError(name) from exc
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(folder: Path, name: str) -> Iterator[None]:
    """Wait until nobody else in this workspace does it, for what is done in a moment."""
    lock = _locked(folder, name, -1)
    try:
        yield
    finally:
        lock.release()


def _locked(folder: Path, name: str, wait: float) -> FileLock:
    path = folder / f"{name}.lock"
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=wait)
    return lock


def days_due(done: datetime | None, first: datetime, now: datetime) -> list[datetime]:
    """List the closed days, each by its end, since the last that was done, or from the first on."""
    since = first if done is None else done + DAY
    return [since + n * DAY for n in range((now - since) // DAY + 1)]


def days_from(first: datetime, last: datetime, every: str) -> list[datetime]:
    """List the days from one to another, one every so many, written as `7d`.

    Raises:
        ParamsError: it is no such number, or there is no day.

    """
    found = EVERY.match(every)
    if not found:
        msg = f"{every!r} is no number of days: write it as 7d"
        raise ParamsError(msg)
    if first > last:
        msg = f"there are no days from {first:%Y-%m-%d} to {last:%Y-%m-%d}: the last is before the first"
        raise ParamsError(msg)
    between = int(found[1]) * DAY
    return [first + n * between for n in range((last - first) // between + 1)]
