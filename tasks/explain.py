"""Why a model scores as it does: exact TreeSHAP by XGBoost, for servers that do without it."""

import logging
import os
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from socket import AF_UNIX, socket
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

    def __init__(self, own: Path, path: Path, explainer: Explainer) -> None:
        self.explainer, self._own, self._path = explainer, own, path
        super().__init__(os.path.relpath(own), _Handler)  # the kernel takes 107 bytes at most

    def service_actions(self) -> None:
        """Be found again where another one that took the name has left with it, or was killed; twice a second."""
        with suppress(FileExistsError, FileNotFoundError):
            if self._path.exists() and not self._path.samefile(self._own) and not answers(self._path):
                self._path.unlink()
            os.link(self._own, self._path)


def answers(path: Path) -> bool:
    """Say whether somebody listens on a socket."""
    with socket(AF_UNIX) as asking:
        try:
            asking.connect(os.path.relpath(path))
        except OSError:
            return False
    return True


@contextmanager
def explaining(serving: Path, explainer: Explainer) -> "Iterator[None]":
    """Answer on the socket beside what is served, as long as the `with` lasts."""
    serving.mkdir(parents=True, exist_ok=True)
    path = serving / SOCKET
    for left in serving.glob(f".{SOCKET}.*"):
        if not answers(left):  # of one that was killed
            left.unlink(missing_ok=True)
    own = serving / f".{SOCKET}.{token_hex(4)}"
    with _Server(own, path, explainer) as server:
        path.unlink(missing_ok=True)
        server.service_actions()
        thread = Thread(target=server.serve_forever, name="explain", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            if path.exists() and (not own.exists() or path.samefile(own)):  # and not another one's that came after
                path.unlink()
            own.unlink(missing_ok=True)
