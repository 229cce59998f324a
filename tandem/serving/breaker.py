"""A challenger that fails is cut off for a while: the champion answers for it, and the registry stays as it is."""

import logging
from collections.abc import Callable
from time import monotonic

log = logging.getLogger(__name__)

FAILURES = 5
"""In a row, before it is cut off."""
SECONDS = 30.0
"""Until it is tried again."""


class Breaker:
    """Counts the failures of one variant in one worker."""

    def __init__(
        self, failures: int = FAILURES, seconds: float = SECONDS, clock: Callable[[], float] = monotonic
    ) -> None:
        """Let all through."""
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._failed, self._until = 0, 0.0

    def closed(self) -> bool:
        """Say whether requests go through; once the time is over one is tried."""
        return self._failed < self._most or self._clock() >= self._until

    def failed(self, why: object) -> None:
        """Count a failure."""
        self._failed += 1
        if self._failed >= self._most:
            self._until = self._clock() + self._seconds
            log.warning("the challenger is cut off for %s s: %s", self._seconds, why)

    def worked(self) -> None:
        """Forget the failures before."""
        self._failed = 0
