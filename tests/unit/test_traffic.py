"""Who answers: shares of keys, and what becomes of a challenger that fails."""

from itertools import pairwise
from math import sqrt
from pathlib import Path

import msgspec
import pytest

from tandem.errors import TrafficError
from tandem.serving.breaker import Breaker
from tandem.serving.traffic import Traffic

KEYS = [("UA", number, "EWR") for number in range(100_000)]
SURE = 3.291
"""Standard deviations within which 99.9 % of a binomial's draws lie."""


def challenged(share: float, salt: str = "salt") -> set[tuple[str, int, str]]:
    traffic = Traffic("a", challenger="b", share=share, salt=salt)
    return {key for key in KEYS if traffic.challenged(key)}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("salt", ["salt", "another"])
def test_a_share_is_what_was_asked_for(share: float, salt: str) -> None:
    bound = SURE * sqrt(len(KEYS) * share * (1 - share))
    assert abs(len(challenged(share, salt)) - len(KEYS) * share) <= bound


def test_a_changed_share_moves_only_the_keys_that_it_must() -> None:
    for less, more in pairwise(challenged(share) for share in (0.05, 0.1, 0.3, 0.8)):
        assert less < more


def test_another_challenger_is_tried_on_other_keys() -> None:
    one, other = challenged(0.1), challenged(0.1, "another")
    bound = SURE * sqrt(len(KEYS) * 0.01 * 0.99)
    assert abs(len(one & other) - len(KEYS) * 0.01) <= bound


def test_what_was_never_written_is_none_and_what_is_damaged_is_told(tmp_path: Path) -> None:
    path = tmp_path / "traffic.json"
    assert Traffic.load(path) is None
    traffic = Traffic("a", 3, challenger="b", share=0.1, shadow="c", key=("x",), salt="s", reason="r", by="me")
    path.write_bytes(msgspec.json.encode(traffic))
    assert Traffic.load(path) == traffic
    assert traffic.digests == {"champion": "a", "challenger": "b", "shadow": "c"}
    for damaged in (b"", b"{", b"{}", b'{"champion": 1}', b'{"champion": "a", "other": 1}', b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(TrafficError, match="`tandem sync` writes it anew"):
            Traffic.load(path)


def test_what_fails_again_and_again_is_cut_off_and_tried_again_later() -> None:
    now = [0.0]
    breaker = Breaker(failures=3, seconds=30, clock=lambda: now[0])
    for _ in range(2):
        breaker.failed("it raised")
    breaker.worked()
    for _ in range(2):
        breaker.failed("it raised")
    assert breaker.closed()
    breaker.failed("it raised")
    assert not breaker.closed()
    now[0] = 30.0
    assert breaker.closed()
    breaker.failed("it raised again")
    assert not breaker.closed()
    now[0] = 60.0
    breaker.worked()
    assert breaker.closed()
