"""How much is answered at a time: what is more is sent away at once, on its headers, before its body is read."""

from tandem.serving.counts import Counts
from tandem.serving.http import CLOSE, Call
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

    def admit(self, call: Call) -> None:
        """Give a call a place, unless one was kept for it.

        Raises:
            Refused: there is none, or never would be.

        """
        if PLACE in call.scope:
            return
        size = call.announced(self.longest)
        if self.is_full(size):
            self.sent_away()
            raise Refused(*FULL)
        self.take(size)
        call.scope[PLACE] = size

    def came(self, call: Call, size: int) -> None:
        """Count what has come of a body beyond what was said of it: one that is sent in chunks says nothing before.

        Raises:
            Refused: there is no room for more of it beside others.

        """
        more = size - call.scope[PLACE]
        if more <= 0:
            return
        if self.requests > 1 and self.size + more > self._largest:
            self.sent_away()
            raise Refused(*FULL, CLOSE)
        self.size += more
        call.scope[PLACE] = size
