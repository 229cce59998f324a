"""SQL types as DuckDB gives them to expressions, and the one that several values meet in."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

WIDEST_DECIMAL, NARROW_DECIMAL = 38, 18


class Type(StrEnum):
    """The type of a column or of an expression's result."""

    BIGINT = "BIGINT"
    DOUBLE = "DOUBLE"
    BOOLEAN = "BOOLEAN"
    VARCHAR = "VARCHAR"
    TIMESTAMP = "TIMESTAMP"


@dataclass(frozen=True, slots=True)
class Kind:
    """A type inside an expression: a column's, or that of a literal (INTEGER, DECIMAL, NULL)."""

    name: str
    digits: int = 0
    scale: int = 0

    @property
    def is_integer(self) -> bool:
        """Whether it is a whole number that overflows."""
        return self in (INTEGER, BIGINT)

    @property
    def is_decimal(self) -> bool:
        """Whether it is an exact number with digits after its point, held as a scaled int."""
        return self.name == "DECIMAL"

    @property
    def is_narrow(self) -> bool:
        """Whether DuckDB holds it in 64 bits, which it converts otherwise than 128."""
        return self.digits <= NARROW_DECIMAL

    @property
    def is_number(self) -> bool:
        """Whether arithmetic is defined on it."""
        return self.digits > 0 or self == DOUBLE

    @property
    def low(self) -> int:
        """The smallest integer."""
        return -self.high - 1

    @property
    def high(self) -> int:
        """The largest integer."""
        return 2**63 - 1 if self == BIGINT else 2**31 - 1

    @property
    def type(self) -> Type | None:
        """The type a result of this kind has, if it may be a result."""
        return Type.BIGINT if self == INTEGER else Type.__members__.get(self.name)

    def __str__(self) -> str:
        """Write it as DuckDB does."""
        return f"DECIMAL({self.digits},{self.scale})" if self.is_decimal else self.name


INTEGER = Kind("INTEGER", 10)
BIGINT = Kind("BIGINT", 19)
DOUBLE = Kind("DOUBLE")
BOOLEAN = Kind("BOOLEAN")
VARCHAR = Kind("VARCHAR")
TIMESTAMP = Kind("TIMESTAMP")
NULL = Kind("NULL")

KINDS = {Type(kind.name): kind for kind in (BIGINT, DOUBLE, BOOLEAN, VARCHAR, TIMESTAMP)}


class KindError(Exception):
    """Values do not meet in one type, or only in one that DuckDB rounds or caps."""


def decimal(before: int, after: int) -> Kind:
    """Return the decimal with so many digits before and after its point.

    DuckDB caps wider ones and checks or rounds; refusing them keeps every decimal operation exact.
    """
    if before + after > WIDEST_DECIMAL:
        message = f"needs a decimal of {before + after} digits, and {WIDEST_DECIMAL} is the widest"
        raise KindError(message)
    return Kind("DECIMAL", before + after, after)


def common(kinds: Iterable[Kind]) -> Kind:
    """Return the kind that DuckDB converts all of these to, to compare or to choose among them."""
    found = set(kinds) - {NULL}
    if len(found) == 1:
        return found.pop()
    if not found or not all(kind.is_number for kind in found):
        message = "mixes " + " and ".join(sorted(map(str, found or {NULL})))
        raise KindError(message)
    if DOUBLE in found:
        return DOUBLE
    if any(kind.is_decimal for kind in found):
        return decimal(max(k.digits - k.scale for k in found), max(k.scale for k in found))
    return BIGINT
