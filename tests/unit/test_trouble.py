"""What fails again and again is told once, and keeps nothing else from being done."""

import logging
from functools import partial

import pytest

from tandem.errors import TandemError
from tandem.serving.server import Trouble


def fail(why: str) -> None:
    raise TandemError(why)


def test_a_failure_is_told_once_as_long_as_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble()

    def rounds(count: int, *reasons: str) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            for _ in range(count):
                for why in reasons:
                    assert trouble.spare(partial(fail, why)) is None
                assert trouble.spare(lambda: 4711) == 4711
                trouble.end_round()
        return [record.getMessage().partition(": ")[2] for record in caplog.records]

    assert rounds(3, "a", "b", "a") == ["a", "b"]
    assert rounds(2, "b", "c") == ["c"]
    assert rounds(1) == []
    assert rounds(2, "b") == ["b"]


def test_what_is_a_mistake_of_ours_is_not_spared() -> None:
    with pytest.raises(ZeroDivisionError):
        Trouble().spare(lambda: 1 // 0)
