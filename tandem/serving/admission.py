"""How much is answered at a time: what is more is sent away at once, on its headers, before its body is read."""

from tandem.serving.counts import Counts
from tandem.serving.http import Call, Reply, Route
from tandem.serving.refused import RETRY, Refused


class Admission:
    """A bounded number of requests and of bytes at a time."""

    def __init__(self, requests: int, size: int, longest: int, counts: Counts) -> None:
        """Let in so many requests, and bodies of so many bytes together; one alone may be longer."""
        self._longest = longest
        self._most, self._largest, self._counts = requests, size, counts
        self.requests = self.size = 0

    async def answer(self, call: Call, route: Route) -> Reply:
        """Answer if there is room.

        Raises:
            Refused: there is none, or never would be.

        """
        size = call.announced(self._longest)
        if self.requests and (self.requests >= self._most or self.size + size > self._largest):
            self._counts.add("refused_total", "busy")
            raise Refused(503, "too much is being answered just now", RETRY)
        self.requests += 1
        self.size += size
        try:
            return await route.answer(call)
        finally:
            self.requests -= 1
            self.size -= size
