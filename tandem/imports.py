"""Imports without what they would bring along: a stage is a process, and its imports are much of its time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

OF_UVICORN = ("watchfiles", "websockets", "wsproto", "h11", "yaml")
"""9 MiB, for what no server of ours does."""


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Hide packages that are not loaded yet, so that one to which they are optional is imported as if they were not.

    None in `sys.modules` is Python's own word for what cannot be imported.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type] # documented, but not in its type
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
