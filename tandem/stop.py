"""A word to stop, which a signal's handler may give."""

from contextlib import suppress
from queue import Empty, SimpleQueue


class Stop:
    """Given once or often, from anywhere.

    A handler may be called in the middle of its own call, as when `make` passes on a signal that its whole group
    got: the lock of a threading.Event would then wait for itself, for ever. A SimpleQueue has none.
    """

    def __init__(self) -> None:
        """Nobody has said so yet."""
        self._said: SimpleQueue[None] = SimpleQueue()
        self._is_set = False

    def set(self) -> None:
        """Say so."""
        self._is_set = True
        self._said.put(None)

    def is_set(self) -> bool:
        """Tell whether somebody has."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait for it, so long at most; tell whether somebody has."""
        if not self._is_set:
            with suppress(Empty):
                self._said.get(timeout=seconds)
        return self._is_set
