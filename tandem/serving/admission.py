"""How much is answered at a time: what is more is sent away at once, on its headers, before its body is read."""

from tandem.serving.counts import Counts
from tandem.serving.http import CLOSE, Call, Message
from tandem.serving.refused import RETRY, Refused

PLACE = "tandem.place"
"""Where a scope says that it has a place already, of so many bytes; the application gives it back."""
OWED = "tandem.owed"
"""How many of them are still to come, where not all came at once."""
FULL = 503, "too much is being answered just now", RETRY
"""What is told who finds no room."""


class Admission:
    """A bounded number of requests and of bytes at a time."""

    def __init__(self, requests: int, size: int, longest: int, counts: Counts) -> None:
        """Let in so many requests, and bodies of so many bytes together; one alone may be longer."""
        self.longest = longest
        self._most, self._largest, self._counts = requests, size, counts
        self.requests = self.size = self._owed = 0

    def is_full(self, size: int, *, coming: bool) -> bool:
        """Say whether there is no room for a body of so many bytes; for one that is here what is to come takes none."""
        held = self.size if coming else self.size - self._owed  # or a slow client would keep all others away
        return self.requests > 0 and (self.requests >= self._most or held + size > self._largest)

    def take(self, scope: Message, size: int, *, coming: bool) -> None:
        """Take a place."""
        self.requests += 1
        self.size += size
        scope[PLACE] = size
        if coming:
            self._owed += size
            scope[OWED] = size

    def give_back(self, scope: Message) -> None:
        """Leave a place to others."""
        self.requests -= 1
        self.size -= scope[PLACE]
        self._owed -= scope.get(OWED, 0)

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
        if self.is_full(size, coming=True):
            self.sent_away()
            raise Refused(*FULL)
        self.take(call.scope, size, coming=True)

    def came(self, call: Call, size: int) -> None:
        """Count what has come of a body, also beyond what was said of it: one that comes in chunks says nothing before.

        Raises:
            Refused: there is no room for more of it beside others.

        """
        scope = call.scope
        if (more := size - scope[PLACE]) > 0:
            if self.requests > 1 and self.size + more > self._largest:
                self.sent_away()
                raise Refused(*FULL, CLOSE)
            self.size += more
            scope[PLACE] = size
        if OWED in scope:
            owed = scope[PLACE] - size
            self._owed += owed - scope[OWED]
            scope[OWED] = owed
