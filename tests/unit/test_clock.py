"""World time: it goes on from where it was, at any speed, and is the wall's only where nothing is said."""

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import AS_OF, PARCELS

from tandem import clock
from tandem.clock import Clock, floor, wall_now
from tandem.errors import ParamsError
from tandem.params import Params, set_as_of
from tandem.problem import load_problem
from tandem.settings import Settings

WALL = datetime(2030, 1, 1)  # noqa: DTZ001
DAY = timedelta(days=1)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The wall's time, which a test moves."""
    shown = [WALL]
    monkeypatch.setattr(clock, "wall_now", lambda: shown[0])
    return shown


def test_it_goes_on_from_any_moment_at_any_speed(wall: list[datetime]) -> None:
    started = Clock(world_start=AS_OF, wall_start=WALL, speed=600)
    wall[0] += timedelta(minutes=1)
    assert started.now() == AS_OF + timedelta(hours=10)
    slower = started.at_speed(1)
    assert slower.now() == started.now(), "a change of speed moves nothing"
    elsewhere = started.at(AS_OF + DAY)
    assert (elsewhere.now(), elsewhere.speed) == (AS_OF + DAY, 600)
    wall[0] += timedelta(minutes=1)
    assert slower.now() == AS_OF + timedelta(hours=10, minutes=1)
    assert elsewhere.now() == AS_OF + DAY + timedelta(hours=10)


def test_one_that_stands_never_reaches_another_moment(wall: list[datetime]) -> None:
    stands = Clock.stopped(AS_OF)
    wall[0] += DAY
    assert stands.now() == AS_OF
    assert stands.wall_of(AS_OF + DAY) is None
    assert Clock(world_start=AS_OF, wall_start=WALL, speed=24).wall_of(AS_OF + DAY) == WALL + timedelta(hours=1)


def test_all_processes_share_it_by_a_file(tmp_path: Path, wall: list[datetime]) -> None:
    path = tmp_path / "var" / "clock.json"
    Clock(world_start=AS_OF, wall_start=WALL, speed=60).save(path)
    wall[0] += timedelta(minutes=1)
    assert Clock.load(path).now() == AS_OF + timedelta(hours=1)
    path.write_text('{"world_start": "2024-01-01T00:00:00"}')
    with pytest.raises(ParamsError, match=r"is no clock: .*`wall_start`.* Delete it"):
        Clock.load(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ParamsError, match="cannot be read"):
        Clock.load(path)


def test_a_moment_of_another_zone_is_told_in_utc() -> None:
    east = datetime(2024, 4, 15, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert Clock.stopped(AS_OF).at(east).now() == AS_OF


@pytest.mark.parametrize("speed", [float("inf"), 1e10, -1.0])
def test_a_speed_that_no_clock_has_is_told(speed: float) -> None:
    with pytest.raises(ParamsError, match=r"no clock goes at .* world seconds a second"):
        Clock.stopped(AS_OF).at_speed(speed)


def test_past_all_years_it_can_still_be_set(wall: list[datetime]) -> None:
    gone = Clock(world_start=AS_OF, wall_start=WALL, speed=1e9)
    wall[0] += timedelta(minutes=5)
    with pytest.raises(ParamsError, match=r"has left the years 100 to 9900.*`tandem clock set MOMENT`"):
        gone.now()
    assert gone.at(AS_OF).now() == AS_OF


@pytest.mark.parametrize("moment", ["0001-01-01", "0099-12-31T23:59:59", "9900-01-01", "9999-12-31T23:59:59"])
def test_a_moment_from_which_no_window_could_be_told_is_refused(moment: str) -> None:
    gone = datetime.fromisoformat(moment)
    with pytest.raises(ParamsError, match=rf"the years 100 to 9900, and {moment}.* does not"):
        Clock.stopped(AS_OF).at(gone)
    with pytest.raises(ParamsError, match="has left the years 100 to 9900"):
        Clock.stopped(gone).now()


def test_without_one_played_data_stands_at_as_of_and_other_is_the_walls(tmp_path: Path) -> None:
    params, settings = Params.load(PARCELS / "params.yaml"), Settings(var=tmp_path)
    assert Clock.of(load_problem("parcels"), params, settings).now() == AS_OF
    before = wall_now()
    assert before <= Clock.load(tmp_path / "none").now() <= wall_now() + timedelta(seconds=1)


def test_the_newest_tick_is_not_after_the_moment() -> None:
    tick = timedelta(minutes=15)
    assert floor(AS_OF, tick) == AS_OF
    assert floor(AS_OF + timedelta(minutes=29), tick) == AS_OF + tick
    assert floor(AS_OF - timedelta(microseconds=1), tick) == AS_OF - tick


@pytest.mark.parametrize(
    ("moment", "shown"), [(AS_OF + DAY, '"2024-04-16"'), (AS_OF + DAY / 2, '"2024-04-15T12:00:00"')]
)
def test_the_day_is_one_line_of_params(tmp_path: Path, moment: datetime, shown: str) -> None:
    path = tmp_path / "params.yaml"
    text = (PARCELS / "params.yaml").read_text().replace('as_of: "2024-04-15"', 'as_of: "2024-04-15"  # a day')
    path.write_text(text)
    set_as_of(path, moment)
    assert path.read_text() == text.replace('"2024-04-15"', shown)
    assert Params.load(path).as_of == moment
    path.write_text("problem: parcels\n")
    with pytest.raises(ParamsError, match="has no line `as_of: MOMENT`"):
        set_as_of(path, moment)
