"""DuckDB's types, and what compiled expressions call: its arithmetic and calendar where Python's own differ.

Overflow raises OverflowError and integer division by zero ZeroDivisionError: both are ArithmeticError, and DuckDB
raises on the same rows. Timestamps are microseconds since 1970 in UTC, in the proleptic Gregorian calendar.
"""

import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any, NoReturn
from zoneinfo import ZoneInfo


class Type(StrEnum):
    """The type of a column or of an expression's result."""

    BIGINT = "BIGINT"
    DOUBLE = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    VARCHAR = "VARCHAR"
    TIMESTAMP = "TIMESTAMP"


Kind = str
BIGINT, DOUBLE, BOOLEAN, VARCHAR, TIMESTAMP = Type
INTEGER, DECIMAL, NULL = "INTEGER", "DECIMAL", "NULL"  # of what is made of literals alone
INTEGERS: dict[Kind, tuple[int, int]] = {INTEGER: (-(2**31), 2**31 - 1), BIGINT: (-(2**63), 2**63 - 1)}
"""The whole numbers' types, each with its least and its greatest."""


def common(kinds: Iterable[Kind]) -> Kind | None:
    """Return the kind that DuckDB converts all of these to, to compare, compute or choose among them.

    None if there is none, or if it is a decimal's: a decimal literal is known only where it becomes a double.
    """
    found = set(kinds) - {NULL}
    if len(found) == 1:
        return None if DECIMAL in found else found.pop()
    if DOUBLE in found:
        return DOUBLE if found <= {*INTEGERS, DECIMAL, DOUBLE} else None
    return BIGINT if found == INTEGERS.keys() else None


SECOND = 10**6
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
QUARTER = 15 * MINUTE
FIRST_TIMESTAMP, LAST_TIMESTAMP = -9_223_372_022_400_000_000, 2**63 - 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2, YEAR_1973, YEAR_9000 = -62_104_060_800 * SECOND, 94_694_400 * SECOND, 221_845_392_000 * SECOND
CYCLE = 146_097  # days of 400 years, after which the calendar and its weekdays repeat
WHOLE = 2.0**52  # doubles from here on have no digits after the point


def overflow() -> NoReturn:
    """Refuse a number that its type cannot hold."""
    message = "a number is out of the range of its type"
    raise OverflowError(message)


def quotient(a: int, b: int) -> int:
    """Divide integers as C does: towards zero."""
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def remainder(a: int, b: int, low: int) -> int:
    """Return what `quotient` leaves, with the sign of the dividend."""
    if b == -1 and a == low:
        overflow()
    return a - b * quotient(a, b)


def by_zero(a: float, b: float) -> float:
    """Divide a double by 0.0 or -0.0 as IEEE 754 does."""
    return math.nan if a != a or a == 0 else math.copysign(math.inf, a) * math.copysign(1.0, b)  # noqa: PLR0124


def round_half_away(x: float) -> float:
    """Round to a whole number, halves away from zero."""
    if not -WHOLE < x < WHOLE:
        return x
    whole = float(int(x))
    if abs(x - whole) >= 0.5:  # noqa: PLR2004
        whole += math.copysign(1.0, x)
    return math.copysign(whole, x)


def floor(x: float) -> float:
    """Round down."""
    return math.copysign(float(math.floor(x)), x) if math.isfinite(x) else x


def chosen(choose: Callable[..., Any], *values: Any) -> Any:  # noqa: ANN401 - one type, whichever it is
    """Return the first of the greatest or least that are not NULL; NaN is greater than every number."""
    known = (value for value in values if value is not None)
    return choose(known, key=lambda value: (value != value, value), default=None)  # noqa: PLR0124


@lru_cache(maxsize=4096)
def date_of(days: int) -> tuple[int, int, int, int]:
    """Return year, month, day and day of the year of a day since 1970; Python's calendar has years 1 to 9999."""
    cycles, day = divmod(days + EPOCH.toordinal() - 1, CYCLE)
    found = date.fromordinal(day + 1)
    return found.year + 400 * cycles, found.month, found.day, found.timetuple().tm_yday


class Zone(str):
    """The name of a time zone, which stands for its function until a program is made."""

    __slots__ = ()


@cache
def local_time_of(name: str) -> Callable[[int], int]:
    """Make the function from UTC to a zone's local time.

    The offset is remembered for a quarter of an hour, as no zone changed inside of one since 1973. An unknown zone
    raises ZoneInfoNotFoundError, ValueError or OSError.
    """
    zone = ZoneInfo(name)

    def offset_at(x: int) -> int:
        inside = max(x, YEAR_2) if x < YEAR_9000 else YEAR_9000 - CYCLE * DAY + (x - YEAR_9000) % (CYCLE * DAY)
        offset = (EPOCH + timedelta(microseconds=inside)).astimezone(zone).utcoffset()
        return (offset or timedelta()) // timedelta(microseconds=1)

    @lru_cache(maxsize=16_384)
    def offset_of(quarter: int) -> int:
        return offset_at(quarter * QUARTER)

    def local_time(x: int) -> int:
        local = x + (offset_of(x // QUARTER) if x >= YEAR_1973 else offset_at(x))
        return local if FIRST_TIMESTAMP <= local <= LAST_TIMESTAMP else overflow()

    return local_time


FUNCTIONS: tuple[Callable[..., object], ...] = (
    abs, float, int, len, max, min, round,
    overflow, quotient, remainder, by_zero, round_half_away, floor, chosen, date_of,
)  # fmt: skip
