"""What compiled expressions call: DuckDB's arithmetic and calendar where Python's own differ.

Overflow raises OverflowError and integer division by zero ZeroDivisionError: both are ArithmeticError, and DuckDB
raises on the same rows. Timestamps are microseconds since 1970 in UTC, in the proleptic Gregorian calendar.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

SECOND = 10**6
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86400 * SECOND
QUARTER = 15 * MINUTE
FIRST_TIMESTAMP, LAST_TIMESTAMP = -9_223_372_022_400_000_000, 2**63 - 2
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2, YEAR_1973, YEAR_9000 = -62_104_060_800 * SECOND, 94_694_400 * SECOND, 221_845_392_000 * SECOND
CYCLE = 146_097 * DAY  # 400 years: the calendar and its weekdays repeat
EXACT = 2**53  # integers up to here are doubles
WHOLE = 2.0**52  # doubles from here on have no digits after the point
WORD = 2**64


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
    return a % abs(b) if a >= 0 else -(-a % abs(b))


def by_zero(a: float, b: float) -> float:
    """Divide a double by 0.0 or -0.0 as IEEE 754 does."""
    return math.nan if a != a or a == 0 else math.copysign(math.inf, a) * math.copysign(1.0, b)  # noqa: PLR0124


def float_remainder(a: float, b: float) -> float:
    """Return C's fmod, which Python's raises instead of answering NaN."""
    return math.fmod(a, b) if b and math.isfinite(a) else math.nan


def square_root(x: float) -> float:
    """Return the correctly rounded root, NaN of a negative number."""
    return math.sqrt(x) if x >= 0 else math.nan


def round_half_away(x: float) -> float:
    """Round to a whole number, halves away from zero."""
    if not -WHOLE < x < WHOLE:
        return x
    whole = float(int(x))
    if abs(x - whole) >= 0.5:  # noqa: PLR2004
        whole += math.copysign(1.0, x)
    return math.copysign(whole, x)


def round_after_point(x: float, power: float) -> float:
    """Round to so many digits after the point, in DuckDB's three roundings."""
    rounded = round_half_away(x * power) / power
    return rounded if math.isfinite(rounded) else x


def round_before_point(x: float, power: float) -> float:
    """Round to tens, hundreds and so on."""
    rounded = round_half_away(x / power) * power
    return rounded if math.isfinite(rounded) else x


def floor(x: float) -> float:
    """Round down."""
    return math.copysign(float(math.floor(x)), x) if math.isfinite(x) else x


def ceiling(x: float) -> float:
    """Round up."""
    return math.copysign(float(math.ceil(x)), x) if math.isfinite(x) else x


def integer_of_double(x: float, low: int, high: int) -> int:
    """Cast to an integer, halves to even; the type holds what rounds to one of its own."""
    if not math.isfinite(x):
        overflow()
    whole = round(x)
    return whole if low <= whole <= high else overflow()


def integer_of_decimal(x: int, power: int, low: int, high: int) -> int:
    """Cast to an integer, halves away from zero."""
    whole = scaled_half_away(x, power)
    return whole if low <= whole <= high else overflow()


def tried(cast: Callable[..., int], *arguments: float) -> int | None:
    """Return what a cast gives, NULL where it overflows."""
    try:
        return cast(*arguments)
    except OverflowError:
        return None


def scaled_half_away(x: int, power: int) -> int:
    """Divide by a power of ten, halves away from zero."""
    whole = (abs(x) + power // 2) // power
    return whole if x >= 0 else -whole


def double_of_huge(x: int) -> float:
    """Convert as DuckDB converts 128 bits: by halves, so not always to the nearest."""
    upper, lower = divmod(x, WORD)
    return -float(WORD - 1 - lower) - 1.0 if upper == -1 else float(lower) + float(upper) * float(WORD)


def double_of_decimal(x: int, power: int, narrow: bool) -> float:  # noqa: FBT001 - a template's argument
    """Convert as DuckDB converts decimals: in one division if the digits are exact, else in two parts."""
    if -EXACT <= x <= EXACT:
        return x / float(power)
    whole = quotient(x, power)
    convert = float if narrow else double_of_huge
    return convert(whole) + convert(x - whole * power) / float(power)


def greatest(*values: Any) -> Any:  # noqa: ANN401 - one type, whichever it is
    """Return the first of the greatest that are not NULL; NaN is greater than every number."""
    best = None
    for value in values:
        if value is not None and (best is None or value > best or (value != value and best == best)):  # noqa: PLR0124
            best = value
    return best


def least(*values: Any) -> Any:  # noqa: ANN401
    """Return the first of the least that are not NULL."""
    best = None
    for value in values:
        if value is not None and (best is None or value < best or (best != best and value == value)):  # noqa: PLR0124
            best = value
    return best


@lru_cache(maxsize=4096)
def date_of(days: int) -> tuple[int, int, int, int]:
    """Return year, month, day and day of the year of a day since 1970.

    Years are counted from March, in cycles of 400, so that the leap day is the last one.
    """
    cycle, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    of_month = day - (153 * month + 2) // 5 + 1
    january = month >= 10  # noqa: PLR2004
    year += 400 * cycle + january
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    of_year = day - 305 if january else day + 60 + leap
    return year, month - 9 if january else month + 3, of_month, of_year


def timestamp(x: int) -> int:
    """Let a timestamp through that DuckDB can hold."""
    return x if FIRST_TIMESTAMP <= x <= LAST_TIMESTAMP else overflow()


def local_time_of(name: str) -> Callable[[int], int]:
    """Make the function from UTC to a zone's local time.

    The offset is remembered for a quarter of an hour, as no zone changed inside of one since 1973. An unknown zone
    raises ZoneInfoNotFoundError, ValueError or OSError.
    """
    zone = ZoneInfo(name)

    def offset_at(x: int) -> int:
        inside = max(x, YEAR_2) if x < YEAR_9000 else YEAR_9000 - CYCLE + (x - YEAR_9000) % CYCLE
        offset = (EPOCH + timedelta(microseconds=inside)).astimezone(zone).utcoffset()
        return (offset or timedelta()) // timedelta(microseconds=1)

    @lru_cache(maxsize=16_384)
    def offset_of(quarter: int) -> int:
        return offset_at(quarter * QUARTER)

    def local_time(x: int) -> int:
        return timestamp(x + (offset_of(x // QUARTER) if x >= YEAR_1973 else offset_at(x)))

    return local_time


NAMES: dict[str, object] = {
    "__builtins__": {},
    "abs": abs,
    "float": float,
    "int": int,
    "len": len,
    **{
        function.__name__: function
        for function in (
            overflow, quotient, remainder, by_zero, float_remainder, square_root, round_half_away, round_after_point,
            round_before_point, floor, ceiling, integer_of_double, integer_of_decimal, tried, scaled_half_away,
            double_of_huge, double_of_decimal, greatest, least, date_of, timestamp,
        )
    },
}  # fmt: skip
