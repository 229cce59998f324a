"""What a server asks the platform's process, which has what serving does without.

A question and an answer over a local socket, each MessagePack behind its length.
"""

import msgspec

SOCKET = "platform.sock"
"""Beside what is served."""
LENGTH = 4
LONGEST = 64 * 1024 * 1024


class Question(msgspec.Struct, frozen=True):
    """Why does a bundle score these inputs as it does?"""

    bundle: str
    inputs: bytes
    """Rows of 32-bit floats."""
    trace: str | None = None
    """The client's name of its request."""


class Explained(msgspec.Struct, frozen=True):
    """The margin of each row, and what each input adds to it; the last column is where all begin."""

    margins: list[float]
    contributions: list[list[float]]
    error: str = ""
    """Why there is no answer."""


def framed(message: Question | Explained) -> bytes:
    """Write a message with its length."""
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(LENGTH, "big") + data
