"""Days that are due, one at a time, and when something ended last."""

import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.clock import wall_now
from tandem.errors import BusyError, LateError, MissingError, ParamsError
from tandem.schedule import DAY, Ended, alone, check_lately, days_due, days_from, ended, last_ended

FIRST = datetime(2024, 4, 15)  # noqa: DTZ001
HOLDER = """
import sys
from pathlib import Path
from tandem.schedule import alone
with alone(Path(sys.argv[1]), "work"):
    print("held", flush=True)
    sys.stdin.read()
"""
MOMENTS = st.datetimes(FIRST - 3 * DAY, FIRST + 40 * DAY)


@given(st.lists(MOMENTS, min_size=1).map(sorted), st.sampled_from([None, FIRST - DAY, FIRST + 5 * DAY]))
def test_whenever_it_is_woken_each_closed_day_is_done_once_and_in_order(
    woken: list[datetime], done: datetime | None
) -> None:
    found: list[datetime] = []
    until = done
    for now in woken:
        days = days_due(until, FIRST, now)
        assert all(day <= now for day in days), "a day is over before it is done"
        found += days
        until = days[-1] if days else until
    first = FIRST if done is None else done + DAY
    assert found == [first + n * DAY for n in range(len(found))]
    assert (found[-1] if found else first - DAY) + DAY > woken[-1], "none that is over is left"


@pytest.mark.parametrize("how", ["7d", "7"])
def test_days_of_a_study(how: str) -> None:
    assert days_from(FIRST, FIRST + 21 * DAY, how) == [FIRST + n * DAY for n in (0, 7, 14, 21)]
    assert days_from(FIRST, FIRST + 20 * DAY, how)[-1] == FIRST + 14 * DAY
    assert days_from(FIRST, FIRST, how) == [FIRST]


@pytest.mark.parametrize(
    ("last", "every", "why"),
    [
        (FIRST, "0d", "write it as 7d"),
        (FIRST, "-1d", "write it as 7d"),
        (FIRST, "1w", "write it as 7d"),
        (FIRST - DAY, "7d", "the last is before the first"),
    ],
)
def test_no_days_are_an_error(last: datetime, every: str, why: str) -> None:
    with pytest.raises(ParamsError, match=why):
        days_from(FIRST, last, every)


def test_only_one_at_a_time_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="another work is going on"), alone(tmp_path, "work"):
            pass
        with alone(tmp_path, "other work"):
            pass
        holder.kill()
    with alone(tmp_path, "work"):
        pass
    with pytest.raises(ZeroDivisionError), alone(tmp_path, "work"):
        raise ZeroDivisionError
    with alone(tmp_path, "work"):
        pass


def test_what_ended_is_remembered(tmp_path: Path) -> None:
    assert last_ended(tmp_path) == {"pipeline": None, "refresh": None}
    ended(tmp_path, "pipeline", FIRST + timedelta(hours=3), FIRST)
    found = Ended.load(tmp_path, "pipeline")
    assert found is not None
    assert (found.world, found.until) == (FIRST + timedelta(hours=3), FIRST)
    assert abs(found.wall - wall_now()) < timedelta(minutes=1)


def test_a_record_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "pipeline.json").write_text('{"wall": 7')
    with pytest.raises(MissingError, match="Delete it"):
        Ended.load(tmp_path, "pipeline")


def test_what_is_late_is_named() -> None:
    def ago(minutes: float) -> Ended:
        return Ended(wall=wall_now() - timedelta(minutes=minutes), world=FIRST, until=None)

    check_lately({"pipeline": ago(4), "refresh": ago(0)}, 5)
    with pytest.raises(LateError, match=r"^no pipeline ended in the last 5 minutes$") as late:
        check_lately({"pipeline": ago(6), "refresh": ago(0)}, 5)
    assert late.value.exit_code == 7
    with pytest.raises(LateError, match=r"^no pipeline and no refresh ended in the last 0.5 minutes$"):
        check_lately({"pipeline": ago(6), "refresh": None}, 0.5)
