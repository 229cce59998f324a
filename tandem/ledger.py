"""The ledger: append-only rows, each bound to all before it, so that nothing is taken out or changed unseen.

A segment is a file of lines, `{"chain", "salt", "row"}`, and has one writer at a time. The chain commits to salted
digests of the rows and not to the rows themselves: a row can be erased, its digest left as a receipt, and the chain
still holds. A line that was torn by a crash was never acknowledged; the next writer cuts it off.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any, Self

import msgspec

from tandem.errors import LedgerError

START = "0" * 64
SALT = 16
DRAWN = 64
"""Salts that are drawn at a time: asking the kernel costs as much for one."""


class Line(msgspec.Struct):
    """A row and its place in the chain; an erased row has left its digest."""

    chain: str
    salt: str = ""
    row: msgspec.Raw = msgspec.Raw(b"")
    erased: str = ""

    def digest(self) -> str:
        """Digest of the row, which its salt keeps from being guessed."""
        return self.erased or salted(self.salt, bytes(self.row))


def salted(salt: str, row: bytes) -> str:
    """Digest of a row that nobody can guess who does not have it."""
    return sha256(salt.encode() + row).hexdigest()


def _salts() -> Iterator[str]:
    while True:
        drawn = os.urandom(SALT * DRAWN).hex()
        yield from (drawn[place : place + 2 * SALT] for place in range(0, len(drawn), 2 * SALT))


SALTS = _salts()


def link(before: str, digest: str) -> str:
    """Bind a row's digest to all that came before it."""
    return sha256((before + digest).encode()).hexdigest()


class Segment:
    """A segment that is being written."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        """Open it where it ended, without what a crash left half-written; durable rows survive a loss of power.

        Raises:
            LedgerError: another one writes it, or it is damaged.

        """
        self._file = _locked(path)
        try:
            lines, whole = _read(path)
            if whole < path.stat().st_size:
                self._file.truncate(whole)
        except OSError as exc:
            self._file.close()
            msg = f"{path}: {exc}"
            raise LedgerError(msg) from exc
        except LedgerError:
            self._file.close()
            raise
        self.path, self.rows, self.end = path, len(lines), whole
        self.torn = False
        """Whether half a line is left at its end, which could not be cut off: nothing more may follow."""
        self._durable, self._named = durable, False
        self._chain = lines[-1][1].chain if lines else START
        self._encode = msgspec.json.Encoder().encode

    def append(self, row: Any) -> int:  # noqa: ANN401 - whatever JSON holds
        """Write a row whole, or raise and leave none of it; tell where it begins."""
        return self.extend([row])[0]

    def extend(self, rows: Iterable[Any]) -> list[int]:
        """Write all of some rows, or raise and leave none of them; tell where each begins."""
        chain, end, lines, places = self._chain, self.end, [], []
        for row in rows:
            said, salt = self._encode(row), next(SALTS)
            chain = link(chain, salted(salt, said))
            line = b"".join((b'{"chain":"', chain.encode(), b'","salt":"', salt.encode(), b'","row":', said, b"}\n"))
            lines.append(line)
            places.append(end)
            end += len(line)
        self._write(b"".join(lines))
        self._chain, self.rows, self.end = chain, self.rows + len(places), end
        return places

    def sync(self) -> None:
        """Let what was written survive a loss of power, and its name too."""
        os.fdatasync(self._file.fileno())
        if not self._named:
            sync_folder(self.path.parent)
            sync_folder(self.path.parent.parent)
            self._named = True

    def _write(self, data: bytes) -> None:
        try:
            whole = self._file.write(data) == len(data)
            if whole and self._durable:
                self.sync()
        except OSError as exc:
            whole, reason = False, str(exc)
        else:
            reason = "the disk is full"
        if not whole:
            self._cut()
            msg = f"{self._file.name}: {reason}"
            raise LedgerError(msg)

    def _cut(self) -> None:
        try:
            self._file.truncate(self.end)
        except OSError:
            self.torn = True

    def is_there(self) -> bool:
        """Say whether what was written can still be found: nobody took the file away, replaced or cut it."""
        end, own = self.end, os.fstat(self._file.fileno())
        try:
            return os.path.samestat(own, self.path.stat()) and own.st_size >= end
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        """Write in a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close at its end."""
        self.close()


def _locked(path: Path) -> FileIO:
    """Open a file to be appended to, as the only one who does.

    Raises:
        LedgerError: another one does, or it cannot be opened.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except OSError as exc:
        msg = f"{path}: {exc}"
        raise LedgerError(msg) from exc
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it, however we end
    except OSError as exc:
        file.close()
        msg = f"{path}: another process writes it"
        raise LedgerError(msg) from exc
    return file


def sync_folder(folder: Path) -> None:
    """Let the names in a folder survive a loss of power."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _read(path: Path) -> tuple[list[tuple[int, Line]], int]:
    """Read the whole lines of a segment, each with the place where it begins, and say where they end.

    Raises:
        LedgerError: a line is not what was written.

    """
    if not path.is_file():
        return [], 0
    data, decode = path.read_bytes(), msgspec.json.Decoder(Line).decode
    whole = data.rfind(b"\n") + 1
    lines, chain, place = list[tuple[int, Line]](), START, 0
    for number, text in enumerate(data[:whole].splitlines(keepends=True), 1):
        try:
            line = decode(text)
        except msgspec.DecodeError as exc:
            msg = f"{path}: line {number} is damaged: {exc}"
            raise LedgerError(msg) from exc
        chain = link(chain, line.digest())
        if chain != line.chain:
            msg = f"{path}: line {number} is not what was written, or a line before it is missing"
            raise LedgerError(msg)
        lines.append((place, line))
        place += len(text)
    return lines, whole


def lines(path: Path) -> list[tuple[int, Line]]:
    """Read the lines of a segment that are whole, each with its place, once its chain was checked.

    Raises:
        LedgerError: a line is not what was written.

    """
    return _read(path)[0]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Give the rows of a segment that are whole, in their order, once its chain was checked; erased ones are left out.

    Raises:
        LedgerError: a line is not what was written.

    """
    return (msgspec.json.decode(line.row) for _, line in lines(path) if not line.erased)


def recover(path: Path) -> bool:
    """Cut off what a writer that was killed left half-written, and say whether there was any; a living one is let be.

    Raises:
        LedgerError: it cannot be cut off.

    """
    if not _is_torn(path) or is_living(path):
        return False
    with _locked(path) as file:
        file.truncate(path.read_bytes().rfind(b"\n") + 1)
    return True


def _is_torn(path: Path) -> bool:
    """Say whether a segment ends in the middle of a line, as it also does while one is written."""
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def is_living(path: Path) -> bool:
    """Say whether a segment is being written."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def row_at(path: Path, place: int) -> dict[str, Any] | None:
    """Read the row that begins at a place; None where none does, or where it was erased.

    Raises:
        LedgerError: what is there is no row.

    """
    try:
        with path.open("rb") as file:
            file.seek(max(place - 1, 0))
            if place and file.read(1) != b"\n":
                return None
            text = file.readline()
    except FileNotFoundError:
        return None
    if not text.endswith(b"\n"):
        return None
    try:
        line = msgspec.json.decode(text, type=Line)
        return None if line.erased else msgspec.json.decode(line.row)
    except msgspec.DecodeError as exc:
        msg = f"{path}: the line at {place} is damaged: {exc}"
        raise LedgerError(msg) from exc
