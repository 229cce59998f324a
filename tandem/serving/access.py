"""Who may ask what: keys with a role, each role with its scopes; only digests of keys are kept."""

import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from math import ceil
from pathlib import Path
from time import monotonic
from typing import Literal, get_args

import msgspec

from tandem.errors import AccessError
from tandem.files import write_text
from tandem.serving.counts import Counts
from tandem.serving.http import Call, Route, Scope
from tandem.serving.refused import Refused

Role = Literal["admin", "developer", "viewer", "client"]
ROLES: tuple[Role, ...] = get_args(Role)
SCOPES: Mapping[Role, frozenset[Scope]] = {
    "client": frozenset({"read", "predict"}),
    "viewer": frozenset({"read", "metrics"}),
    "developer": frozenset({"read", "predict", "records", "metrics"}),
    "admin": frozenset({"read", "predict", "records", "metrics"}),
}
"""What a role may do."""
WHO = (b"www-authenticate", b'Bearer realm="tandem"')


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is kept of a key."""

    name: str
    role: Role
    digest: str
    """SHA-256: a key is 256 random bits, so a slow digest would add nothing."""
    rate: float | None = None
    """Requests a second, on the average of a few seconds; None: as many as it likes."""


class Keys(msgspec.Struct, frozen=True):
    """The keys of a workspace."""

    keys: tuple[Key, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Keys":
        """Read the file of keys; without one there are none.

        Raises:
            AccessError: it cannot be read.

        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()
        except (OSError, msgspec.DecodeError) as exc:
            msg = f"{path} holds no keys: {exc}"
            raise AccessError(msg) from exc

    def save(self, path: Path) -> None:
        """Write the file in one step, for its owner alone."""
        write_text(path, msgspec.json.format(msgspec.json.encode(self)).decode() + "\n", private=True)

    def add(self, name: str, role: Role, rate: float | None = None) -> tuple["Keys", str]:
        """Make a key; it is told once and never again."""
        if any(key.name == name for key in self.keys):
            msg = f"there is a key {name!r} already: take it away first, or choose another name"
            raise AccessError(msg)
        told = f"tandem_{secrets.token_urlsafe(32)}"
        return Keys((*self.keys, Key(name, role, digest_of(told), rate))), told

    def having(self, name: str, role: Role, told: str) -> "Keys":
        """Let a name have a key that is there already, in the place of what it had."""
        return Keys((*(key for key in self.keys if key.name != name), Key(name, role, digest_of(told))))

    def without(self, name: str) -> "Keys":
        """Take a key away."""
        left = tuple(key for key in self.keys if key.name != name)
        if len(left) == len(self.keys):
            msg = f"there is no key {name!r}: there are {', '.join(key.name for key in self.keys) or 'none'}"
            raise AccessError(msg)
        return Keys(left)

    def find(self, told: str) -> Key | None:
        """Find a key; it takes as long whichever it is."""
        digest, found = digest_of(told), None
        for key in self.keys:
            if compare_digest(key.digest, digest):
                found = key
        return found


def digest_of(told: str) -> str:
    """Give what is kept of a key."""
    return sha256(told.encode()).hexdigest()


class Bucket:
    """Lets through so many a second, and two seconds' worth at once; one at least."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        """Begin full."""
        self._rate, self._clock, self._most = rate, clock, max(1.0, rate * 2)
        self._left, self._since = self._most, clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._since) * self._rate)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Access:
    """Lets a call in, or not."""

    def __init__(self, path: Path, counts: Counts, *, required: bool, clock: Callable[[], float] = monotonic) -> None:
        """Read the keys, if any are asked for."""
        self._path, self._counts, self._required, self._clock = path, counts, required, clock
        self._mark: object = None
        self._keys, self._buckets = Keys(), dict[str, Bucket]()
        self.look()

    def look(self) -> None:
        """Take up keys that came or went; a file that cannot be read changes nothing."""
        if not self._required:
            return
        mark = self._path.stat().st_mtime_ns if self._path.exists() else None
        if mark != self._mark:
            self._keys, self._mark = Keys.load(self._path), mark

    def check(self, call: Call, route: Route) -> None:
        """Let a call in.

        Raises:
            Refused: it shows no key, a wrong one, one that may not, or one that came too often.

        """
        if not self._required or route.scope == "health":
            return
        given = call.headers.get(b"authorization", b"")
        kind, _, told = given.decode("latin-1").partition(" ")
        key = self._keys.find(told.strip()) if kind.lower() == "bearer" else None
        if key is None:
            self._counts.add("refused_total", "key")
            raise Refused(401, "show a key: `Authorization: Bearer ...`; `tandem keys add` makes one", WHO)
        if route.scope not in SCOPES[key.role]:
            self._counts.add("refused_total", "role")
            raise Refused(403, f"the role {key.role} does not hold {route.scope}")
        if key.rate and not self._buckets.setdefault(key.digest, Bucket(key.rate, self._clock)).take():
            self._counts.add("refused_total", "rate")
            raise Refused(
                429, f"this key may ask {key.rate:g} times a second", (b"retry-after", b"%d" % ceil(1 / key.rate))
            )
