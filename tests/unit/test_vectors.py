"""Values as the model's inputs, and what else there is to tell of them."""

from math import inf, nan

import numpy as np
import pytest

from tandem.serving.variant import reach
from tandem.vectors import Part

NAMES = ("a", "b", "c")
PART = Part(NAMES, [reach(0, 1), reach(None, 0.1), reach(-5, None)])


@pytest.mark.parametrize(
    ("values", "nulls", "outside"),
    [
        ((0, 0.1, True), 0, ()),
        ((None, nan, -5), 2, ()),
        ((-0.5, 0.2, -5.5), 0, NAMES),
        ((1.0000000001, 0.1000000001, 2**60), 0, ()),  # the same 32-bit floats as the bounds are
        ((1.1, None, -6), 1, ("a", "c")),
    ],
)
def test_values_are_written_counted_and_held_against_their_bounds(
    values: tuple[object, ...], nulls: int, outside: tuple[str, ...]
) -> None:
    made = PART.made(values, ("a.view",))
    assert made.data == np.array(values, dtype=np.float32).tobytes()
    assert (made.nulls, made.outside, made.unknown) == (nulls, outside, ("a.view",))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_32_bits_cannot_hold_is_infinite() -> None:
    made = PART.made((1e300, -1e300, None))
    assert np.frombuffer(made.data, dtype=np.float32)[:2].tolist() == [inf, -inf]
    assert (made.nulls, made.outside) == (1, ("a",))
