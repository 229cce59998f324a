"""World time: what facts, moments and ticks are in. It is the wall's, or a replay's of its own start and speed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import Field, ValidationError

from tandem.errors import ParamsError
from tandem.files import write_text
from tandem.params import Frozen, Instant, Params, wrong_in
from tandem.problem import Problem
from tandem.settings import Settings


def wall_now() -> datetime:
    """Tell the wall's time, naive UTC as all instants are."""
    return datetime.now(UTC).replace(tzinfo=None)


class Clock(Frozen):
    """When world time began, when that was by the wall, and how many world seconds a second has had since."""

    world_start: Instant
    wall_start: Instant
    speed: float = Field(default=1.0, ge=0, le=1e9, description="0: it stands")

    def now(self) -> datetime:
        """Tell world time, to the microsecond.

        Raises:
            ParamsError: it has left the years that can be told.

        """
        try:
            return self.world_start + (wall_now() - self.wall_start) * self.speed
        except OverflowError as exc:
            past = f"world time has gone past the year 9999, at {self.speed:g} seconds a second"
            msg = f"{past}: `tandem clock set MOMENT` brings it back"
            raise ParamsError(msg) from exc

    def wall_of(self, moment: datetime) -> datetime | None:
        """Tell when by the wall it will be, or was, that moment of the world; never, if the clock stands."""
        return self.wall_start + (moment - self.world_start) / self.speed if self.speed else None

    def at(self, moment: datetime) -> "Clock":
        """Go on from another moment, as fast as before."""
        return Clock(world_start=moment, wall_start=wall_now(), speed=self.speed)

    def at_speed(self, speed: float) -> "Clock":
        """Go on from now, faster or slower.

        Raises:
            ParamsError: no clock goes so fast.

        """
        now = self.now()
        try:
            return Clock(world_start=now, wall_start=wall_now(), speed=speed)
        except ValidationError as exc:
            msg = f"no clock goes at {speed:g} world seconds a second: {', '.join(wrong_in(exc))}"
            raise ParamsError(msg) from exc

    @classmethod
    def load(cls, path: Path, standing: datetime | None = None) -> "Clock":
        """Read the clock that all processes share; without one it stands at a moment, or is the wall's.

        Raises:
            ParamsError: the file is not a clock's.

        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            wall = wall_now()
            return cls(world_start=wall, wall_start=wall) if standing is None else cls.stopped(standing)
        except ValidationError as exc:
            msg = f"{path} is no clock: {', '.join(wrong_in(exc))}. Delete it, then `tandem clock set MOMENT`"
            raise ParamsError(msg) from exc
        except OSError as exc:
            msg = f"{path} cannot be read: {exc}"
            raise ParamsError(msg) from exc

    @classmethod
    def of(cls, problem: Problem, params: Params, settings: Settings) -> "Clock":
        """Read the workspace's clock; a problem whose data is played again stands at `as_of` until it is set."""
        return cls.load(settings.clock, params.as_of if problem.replayed else None)

    @classmethod
    def stopped(cls, moment: datetime) -> "Clock":
        """Stand at a moment."""
        return cls(world_start=moment, wall_start=wall_now(), speed=0)

    def save(self, path: Path) -> None:
        """Write it in one step."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def floor(moment: datetime, tick: timedelta) -> datetime:
    """Give the newest tick that is not after a moment."""
    return moment - (moment - datetime(1970, 1, 1)) % tick  # noqa: DTZ001 - all instants are UTC
