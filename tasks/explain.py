"""Why a model scores as it does: exact TreeSHAP by XGBoost, for servers that do without it."""

import logging
import os
from collections.abc import Callable
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tandem.asking import LENGTH, LONGEST, SOCKET, Explained, Question, framed
from tandem.bundle import Bundle
from tandem.errors import BundleError, MissingError, TandemError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

KEPT = 4
"""Models that are held ready."""
PATIENCE = 10.0
"""Seconds for a question to come whole."""


class Explainer:
    """Answers questions about the bundles of some folders."""

    def __init__(self, folders: Callable[[str], list[Path]]) -> None:
        """Look for a bundle where it may be, by its digest."""
        self._folders, self._lock = folders, Lock()
        self._booster = lru_cache(KEPT)(self._load)

    def answer(self, question: Question) -> Explained:
        """Give the margin of each row, and what each input adds to it."""
        from tandem.boosting import explain  # noqa: PLC0415 - half a second, for those who ask only

        try:
            with self._lock:
                booster, width = self._booster(question.bundle)
        except TandemError as exc:
            return Explained([], [], str(exc))
        rows = np.frombuffer(question.inputs, dtype=np.float32)
        if rows.size % width:
            return Explained([], [], f"bundle {question.bundle[:12]} takes rows of {width} inputs")
        margins, contributions = explain(booster, rows.reshape(-1, width))
        return Explained(margins.tolist(), contributions.tolist())

    def _load(self, digest: str) -> tuple[Any, int]:
        from tandem.boosting import read_booster  # noqa: PLC0415

        for folder in self._folders(digest):
            try:
                bundle = Bundle.open(folder)  # its digests, before XGBoost parses a byte of it
            except (MissingError, BundleError):
                continue
            if bundle.digest == digest:
                return read_booster(bundle.folder / "model.json"), len(bundle.spec.names)
        msg = f"bundle {digest[:12]} is not here"
        raise MissingError(msg)


class _Handler(StreamRequestHandler):
    timeout = PATIENCE

    def handle(self) -> None:
        """Answer one question."""
        size = int.from_bytes(self.rfile.read(LENGTH), "big")
        if not 0 < size <= LONGEST:
            return
        try:
            question = msgspec.msgpack.decode(self.rfile.read(size), type=Question)
        except msgspec.DecodeError as exc:
            self.wfile.write(framed(Explained([], [], f"no question: {exc}")))
            return
        self.wfile.write(framed(self.server.explainer.answer(question)))  # type: ignore[attr-defined]


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, explainer: Explainer) -> None:
        self.explainer = explainer
        super().__init__(path, _Handler)


@contextmanager
def explaining(serving: Path, explainer: Explainer) -> "Iterator[None]":
    """Answer on the socket beside what is served, as long as the `with` lasts."""
    serving.mkdir(parents=True, exist_ok=True)
    path = serving / SOCKET
    own = serving / f".{SOCKET}.{os.getpid()}"
    own.unlink(missing_ok=True)
    with _Server(os.path.relpath(own), explainer) as server:  # a relative path: the kernel takes 107 bytes at most
        own.rename(path)
        thread = Thread(target=server.serve_forever, name="explain", daemon=True)
        thread.start()
        inode = path.stat().st_ino
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            if path.exists() and path.stat().st_ino == inode:  # and not another one's that came after
                path.unlink()
