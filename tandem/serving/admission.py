"""How much is answered at a time: what is more is sent away at once, on its headers, before its body is read."""

from tandem.serving.counts import Counts
from tandem.serving.http import Call, Reply, Route
from tandem.serving.refused import RETRY, Refused

PLACE = "tandem.place"
"""Where a scope says that it has a place already, of so many bytes; the application gives it back."""
FULL = 503, "too much is being answered just now", RETRY
"""What is told who finds no room."""


class Admission:
    """A bounded number of requests and of bytes at a time."""

    def __init__(self, requests: int, size: int, longest: int, counts: Counts) -> None:
        """Let in so many requests, and bodies of so many bytes together; one alone may be longer."""
        self.longest = longest
        self._most, self._largest, self._counts = requests, size, counts
        self.requests = self.size = 0

    def is_full(self, size: int) -> bool:
        """Say whether there is no room for a body of so many bytes."""
        return self.requests > 0 and (self.requests >= self._most or self.size + size > self._largest)

    def take(self, size: int) -> None:
        """Take a place."""
        self.requests += 1
        self.size += size

    def give_back(self, size: int) -> None:
        """Leave a place to others."""
        self.requests -= 1
        self.size -= size

    def sent_away(self) -> None:
        """Count one that there is no room for."""
        self._counts.add("refused_total", "busy")

    async def answer(self, call: Call, route: Route) -> Reply:
        """Answer if there is room, or a place was kept.

        Raises:
            Refused: there is none, or never would be.

        """
        if PLACE in call.scope:
            return await route.answer(call)
        size = call.announced(self.longest)
        if self.is_full(size):
            self.sent_away()
            raise Refused(*FULL)
        self.take(size)
        try:
            return await route.answer(call)
        finally:
            self.give_back(size)
