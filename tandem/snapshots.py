"""Snapshots: all views' rows at one tick, a read-only file that serving maps into memory.

The file is LMDB's: opened in a quarter of a millisecond whatever its size, its pages shared by all processes. Each row
stands under its view's number and its key, both as MessagePack.
The same rows give the same bytes, and the name of the file tells the tick and the digest of those.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from weakref import WeakValueDictionary

import lmdb
import msgspec

from tandem.errors import ProblemError, SnapshotError
from tandem.features import FeatureSpec
from tandem.files import sha256_of
from tandem.vectors import Values

Rows = Mapping[str, Mapping[Values, Values]]
"""The row of each key of each view."""

ABOUT = b"\xc0"
"""Where the file says what it is: no key begins so."""
PAGE = 4096
OVERHEAD = 64
"""Bytes that LMDB needs beside a row, at most."""
NAME = re.compile(r"\A(\d{8}T\d{6})Z-([0-9a-f]{64})\Z")
STAMP = "%Y%m%dT%H%M%SZ"


class About(msgspec.Struct, frozen=True):
    """What a snapshot says of itself."""

    tick: datetime
    views: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    """The names of the keys and the values of each view; its place here is its number."""
    made_of: str = ""
    """Digest of the SQL and the facts behind it."""


@dataclass(frozen=True, order=True)
class Named:
    """A snapshot's file, known by its name alone."""

    tick: datetime
    digest: str
    path: Path

    @classmethod
    def all(cls, folder: Path) -> list["Named"]:
        """List the snapshots of a folder, oldest first."""
        found = ((NAME.match(path.name), path) for path in folder.iterdir()) if folder.is_dir() else ()
        return sorted(cls(datetime.fromisoformat(m[1]), m[2], path) for m, path in found if m)


def is_whole(path: Path) -> bool:
    """Say whether a file is what its name says."""
    named = NAME.match(path.name)
    try:
        return named is not None and sha256_of(path) == named[2]
    except OSError:  # it is not there, or not ours to read
        return False


class Snapshot:
    """The rows at one tick; the file is unmapped when nobody has it any more."""

    def __init__(self, path: Path) -> None:
        """Map the file; a damaged one crashes LMDB, so its digest must be known to be right."""
        self._file = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_readers=1)
        self.begin()
        self.about = msgspec.msgpack.decode(self._rows.get(ABOUT, b""), type=About)
        self.tick = self.about.tick
        self._numbers = {name: number for number, name in enumerate(self.about.views)}
        self._encode, self._decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(tuple).decode

    def begin(self) -> None:
        """Begin to read; again after a failure, which ends what LMDB had begun with."""
        self._rows = self._file.begin(buffers=True)

    def row(self, view: str, key: Values) -> Values | None:
        """Give a view's row of a key; None where nothing is known of it, or the key itself is not.

        Raises:
            SnapshotError: the file was damaged since it was opened.

        """
        try:
            found = self._rows.get(self._encode((self._numbers[view], *key)))
            return None if found is None else self._decode(found)
        except (lmdb.Error, msgspec.DecodeError) as exc:
            msg = f"the snapshot of {self.tick} was damaged: {exc}"
            raise SnapshotError(msg) from exc

    @classmethod
    def open(cls, path: Path) -> "Snapshot":
        """Check that a file is what its name says, and map it.

        Raises:
            SnapshotError: it is not.

        """
        if not is_whole(path):
            msg = f"{path} is no snapshot, or was damaged: `tandem refresh` makes it anew"
            raise SnapshotError(msg)
        with OPENING:  # a process may map a file once only
            found = MAPPED.get(path.resolve())
            try:
                if found is None:
                    found = MAPPED[path.resolve()] = cls(path)
            except lmdb.Error as exc:
                msg = f"{path} cannot be mapped: {exc}"
                raise SnapshotError(msg) from exc
        return found

    @staticmethod
    def forget(path: Path) -> None:
        """Map a file anew when it is next opened, though somebody still has what was mapped."""
        with OPENING:
            MAPPED.pop(path.resolve(), None)

    def fits(self, spec: FeatureSpec) -> None:
        """Check that the views which a model is fed from are here.

        Raises:
            SnapshotError: one is not, or is another one.

        """
        wanted = {view.name: (view.keys, tuple(view.values)) for view in spec.views}
        if other := [name for name, columns in wanted.items() if self.about.views.get(name) != columns]:
            msg = f"the snapshot of {self.tick} does not hold {', '.join(other)} as the bundle knows it"
            raise SnapshotError(msg)

    def rows(self) -> dict[str, dict[Values, Values]]:
        """Read all rows."""
        names, decode = list(self.about.views), msgspec.msgpack.Decoder(tuple).decode
        found: dict[str, dict[Values, Values]] = {name: {} for name in names}
        for key, row in self._rows.cursor():
            if bytes(key) != ABOUT:
                number, *own = decode(key)
                found[names[number]][tuple(own)] = decode(row)
        return found


MAPPED: WeakValueDictionary[Path, Snapshot] = WeakValueDictionary()
OPENING = Lock()


def write_snapshot(folder: Path, about: About, rows: Rows) -> Path:
    """Write a snapshot under its name, in one step.

    Raises:
        ProblemError: a key is longer than LMDB takes.

    """
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".") as temporary:
        path = Path(temporary) / "snapshot"
        _write(path, about, rows)
        return path.rename(folder / f"{about.tick:{STAMP}}-{sha256_of(path)}")


def _write(path: Path, about: About, rows: Rows) -> None:
    """Fill one file in the order of its keys, in one transaction: so nothing of its bytes is left to chance."""
    encode = msgspec.msgpack.Encoder().encode
    entries = [
        (encode((number, *key)), encode(row))
        for number, name in enumerate(about.views)
        for key, row in rows[name].items()
    ]
    entries = sorted([*entries, (ABOUT, encode(about))])
    room = sum(len(key) + len(row) + OVERHEAD for key, row in entries) * 2 + PAGE * 64
    opened = lmdb.open(str(path), subdir=False, map_size=room // PAGE * PAGE, lock=False)
    with opened as file, file.begin(write=True) as writing:
        for key, row in entries:
            if len(key) > file.max_key_size():
                msg = f"a view's key is longer than {file.max_key_size()} bytes: {key[:60]!r}..."
                raise ProblemError(msg)
            writing.put(key, row, append=True)
