"""World time: what facts, moments and ticks are in. It is the wall's, or a replay's of its own start and speed.

Serving reads this too: so it is made of msgspec's structs, pydantic being 14 MiB of a worker and a fifth of its start.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from annotated_types import Ge, Gt, Le

from tandem.errors import ParamsError
from tandem.files import write_text

if TYPE_CHECKING:
    from tandem.params import Params
    from tandem.problem import Problem
    from tandem.settings import Settings

DAY = 1440
"""Minutes."""
FASTEST = 1e9
"""World seconds in a second."""
FIRST, LAST = datetime(100, 1, 1), datetime(9900, 1, 1)  # noqa: DTZ001 - all instants are UTC
"""What the world's time lies between: from the ends of all dates no window could reach back, and no tick follow."""


@dataclass(frozen=True)
class Grid:
    """The grid on which knowledge is published, and how long publishing takes."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's, where it is a part of params.yaml

    tick_minutes: Annotated[int, Gt(0), Le(DAY)]
    lag_minutes: Annotated[int, Ge(0), Le(DAY)]

    @property
    def tick(self) -> timedelta:
        """The distance of two ticks."""
        return timedelta(minutes=self.tick_minutes)

    @property
    def lag(self) -> timedelta:
        """How old the newest tick must be before a request may use it."""
        return timedelta(minutes=self.lag_minutes)


def wall_now() -> datetime:
    """Tell the wall's time, naive UTC as all instants are."""
    return datetime.now(UTC).replace(tzinfo=None)


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When world time began, when that was by the wall, and how many world seconds a second has had since."""

    world_start: datetime
    wall_start: datetime
    speed: Annotated[float, msgspec.Meta(ge=0, le=FASTEST)] = 1.0
    """0: it stands."""

    def now(self) -> datetime:
        """Tell world time, to the microsecond.

        Raises:
            ParamsError: it has left the years that can be told.

        """
        try:
            moment = self.world_start + (wall_now() - self.wall_start) * self.speed
        except OverflowError:
            moment = LAST
        if not FIRST <= moment < LAST:
            past = f"world time has left the years {FIRST.year} to {LAST.year}, at {self.speed:g} seconds a second"
            msg = f"{past}: `tandem clock set MOMENT` brings it back"
            raise ParamsError(msg)
        return moment

    def wall_of(self, moment: datetime) -> datetime | None:
        """Tell when by the wall it will be, or was, that moment of the world; never, if the clock stands."""
        return self.wall_start + (moment - self.world_start) / self.speed if self.speed else None

    def at(self, moment: datetime) -> "Clock":
        """Go on from another moment, as fast as before.

        Raises:
            ParamsError: no window could be told from there.

        """
        if not FIRST <= (moment := naive(moment)) < LAST:
            msg = f"the world's time lies in the years {FIRST.year} to {LAST.year}, and {moment.isoformat()} does not"
            raise ParamsError(msg)
        return Clock(moment, wall_now(), self.speed)

    def at_speed(self, speed: float) -> "Clock":
        """Go on from now, faster or slower.

        Raises:
            ParamsError: no clock goes so fast.

        """
        if not 0 <= speed <= FASTEST:
            msg = f"no clock goes at {speed:g} world seconds a second: 0 to {FASTEST:g} it may"
            raise ParamsError(msg)
        return Clock(self.now(), wall_now(), speed)

    @classmethod
    def load(cls, path: Path, standing: datetime | None = None) -> "Clock":
        """Read the clock that all processes share; without one it stands at a moment, or is the wall's.

        Raises:
            ParamsError: the file is not a clock's.

        """
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            wall = wall_now()
            return cls(wall, wall) if standing is None else cls.stopped(standing)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            msg = f"{path} is no clock: {exc}. Delete it, then `tandem clock set MOMENT`"
            raise ParamsError(msg) from exc
        except OSError as exc:
            msg = f"{path} cannot be read: {exc}"
            raise ParamsError(msg) from exc
        return cls(naive(found.world_start), naive(found.wall_start), found.speed)

    @classmethod
    def of(cls, problem: "Problem", params: "Params", settings: "Settings") -> "Clock":
        """Read the workspace's clock; a problem whose data is played again stands at `as_of` until it is set."""
        return cls.load(settings.clock, params.as_of if problem.replayed else None)

    @classmethod
    def stopped(cls, moment: datetime) -> "Clock":
        """Stand at a moment."""
        return cls(moment, wall_now(), 0)

    def save(self, path: Path) -> None:
        """Write it in one step."""
        write_text(path, msgspec.json.format(msgspec.json.encode(self), indent=1).decode() + "\n")


def naive(moment: datetime) -> datetime:
    """Give an instant as naive UTC, the only kind in the project."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def floor(moment: datetime, tick: timedelta) -> datetime:
    """Give the newest tick that is not after a moment."""
    return moment - (moment - datetime(1970, 1, 1)) % tick  # noqa: DTZ001 - all instants are UTC
