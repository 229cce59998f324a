"""Secrets of a workspace: made once, each readable by the one user that needs it, and in nothing but these files."""

import base64
import ctypes
import os
import secrets
import string
from collections.abc import Iterator
from pathlib import Path

from tandem.errors import AccessError
from tandem.files import write_text
from tandem.serving.access import Keys
from tandem.workspace import READERS, Place

ROLES = ("admin", "developer", "viewer")
DATABASES = ("mlflow", "prefect")
SALTS = f"./{string.ascii_letters}{string.digits}"


def make_secrets(place: Place) -> bool:
    """Make what is missing, and say whether who is let in has changed; what else is there stays.

    Raises:
        AccessError: this user may not give files to those of the containers.

    """
    for folder in (place.folder, place.secrets, place.people):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    for reader in READERS:
        (place.secrets / reader).mkdir(exist_ok=True)
    _databases(place.secrets)
    _keys(place)
    _once(place.secrets / "platform" / "pseudonyms.key")
    _once(place.secrets / "alertmanager" / "webhook", "")
    for role in ROLES:
        if not any(place.people.glob(f"{role}.*")):
            _once(place.people / f"{role}.{role}")
    changed = _people(place)
    _hand_over(place.secrets)
    return changed


def _once(path: Path, text: str | None = None) -> str:
    """Read a secret, which is random unless it is given where there is none."""
    if not path.exists():
        write_text(path, secrets.token_urlsafe(32) if text is None else text, private=True)
    return path.read_text()


def _databases(folder: Path) -> None:
    for name in DATABASES:
        password = _once(folder / "postgres" / name)
        write_text(folder / name / "pgpass", f"postgres:5432:{name}:{name}:{password}\n", private=True)


def _keys(place: Place) -> None:
    """Make the keys that a workspace begins with: its owner's, and the one that Prometheus reads metrics by."""
    if place.key.exists():
        return
    keys, scraping = Keys().add("prometheus", "viewer")
    keys, own = keys.add("owner", "admin")
    write_text(place.secrets / "prometheus" / "key", scraping, private=True)
    keys.save(place.secrets / "platform" / "keys.json")
    write_text(place.key, own, private=True)


def _people(place: Place) -> bool:
    """Write for the gateway who is let in, and who has which role, if that changed; say whether it did."""
    path = place.secrets / "gateway" / "people"
    people = dict(sorted(_listed(place.people)))
    newest = max(each.stat().st_mtime for each in (place.people, *place.people.iterdir()))
    if path.exists() and path.stat().st_mtime > newest:
        return False
    hashes = [f"\t{name} {_hashed(password)}" for name, (_, password) in people.items()]
    roles = [f"\t{name} {role}" for name, (role, _) in people.items()]
    lines = ["basicauth {", *hashes, "}", "map {http.auth.user.id} {role} {", *roles, "}"]
    write_text(path, "\n".join(lines) + "\n", private=True)
    return True


def _listed(folder: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    for path in folder.iterdir():
        role, _, name = path.name.partition(".")
        if role not in ROLES or not name.isidentifier():
            msg = f"{path} names nobody: a file is called <role>.<name>, with a role of {', '.join(ROLES)}"
            raise AccessError(msg)
        yield name, (role, path.read_text().strip())


def _hashed(password: str) -> str:
    """Give a password's digest as Caddy takes it: bcrypt, of a small cost, as a password of ours is 256 random bits.

    It is the C library's, as Python has none from 3.13 on. Scrypt would take the gateway 32 MiB for each who tries.
    """
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    salt = "$2b$08$" + "".join(secrets.choice(SALTS) for _ in range(21)) + "."
    digest: bytes = library.crypt(password.encode(), salt.encode())
    return base64.b64encode(digest).decode()


def _hand_over(folder: Path) -> None:
    """Give each file to the one user who reads it."""
    for reader, user in READERS.items():
        for path in (*(folder / reader).iterdir(), folder / reader):
            try:
                os.chown(path, user, user)
                path.chmod(0o500 if path.is_dir() else 0o400)
            except PermissionError as exc:
                msg = f"{path} cannot be given to user {user}, who reads it in a container: run this as root"
                raise AccessError(msg) from exc
