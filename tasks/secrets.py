"""Secrets of a workspace: made once, each readable by the one user that needs it, and in nothing but these files."""

import base64
import ctypes
import os
import re
import secrets
import string
from pathlib import Path

from tandem.errors import AccessError
from tandem.files import write_text
from tandem.serving.access import Keys
from tandem.workspace import READERS, Place

ROLES = ("admin", "developer", "viewer")
DATABASES = ("mlflow", "prefect")
SALTS = f"./{string.ascii_letters}{string.digits}"
NAME = re.compile(r"(?!import$)[A-Za-z0-9_][A-Za-z0-9_.@-]*")
"""Of a person; Caddy would take the one word for its own."""
SECRET = re.compile(r"[A-Za-z0-9_.~+=-]+")
"""What a file may hold that servers read: nothing that SQL or a file of passwords would take for more than text."""
ADDRESS = re.compile(
    r"https?://([\w.~!$&*+,;=:()-]+@)?(\[[\da-f:]+\]|[\w.-]+)(:\d{1,5})?([/?#]([\w.~:/?#@!$&()*+,;=-]|%[\da-f]{2})*)?",
    re.IGNORECASE | re.ASCII,
)
LONGEST = 72
"""Bytes of a password: of more bcrypt would look at no other."""
HASH = re.compile(r"^\t(\S+) ([A-Za-z0-9+/=]{80,})$", re.MULTILINE)


def make_secrets(place: Place, *, lived: bool = False) -> None:
    """Make what is missing, and write for the gateway who is let in; what else is there stays.

    Raises:
        AccessError: a file names nobody, or holds no password or address; a workspace that has lived knows no other key
            than one that is gone; or this is not root, who alone may give files away.

    """
    if os.geteuid():
        msg = f"{place.secrets} is given to the users of containers, who read it: run this as root"
        raise AccessError(msg)
    for folder in (place.folder, place.secrets, place.people):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    for reader in READERS:
        (place.secrets / reader).mkdir(exist_ok=True)
    try:
        _databases(place.secrets)
        _keys(place, lived=lived)
        _once(place.secrets / "platform" / "pseudonyms.key")
        _webhook(place.secrets / "alertmanager" / "webhook")
        for role in ROLES:
            if not any(place.people.glob(f"{role}.*")):
                _once(place.people / f"{role}.{role}")
        _people(place)
    finally:  # what was written again is read by who runs, whatever is refused
        _hand_over(place.secrets)


def _once(path: Path, text: str | None = None) -> str:
    """Read a secret, which is random unless it is given where there is none."""
    if not path.exists():
        write_text(path, secrets.token_urlsafe(32) if text is None else text, private=True)
    if not SECRET.fullmatch(told := path.read_text(errors="replace").strip()) and text is None:
        msg = f"{path} holds no secret: that is one word of A-Z, a-z, 0-9 and _.~+=-. Delete the file to have one made"
        raise AccessError(msg)
    return told


def _databases(folder: Path) -> None:
    for name in DATABASES:
        password = _once(folder / "postgres" / name)
        write_text(folder / name / "pgpass", f"postgres:5432:{name}:{name}:{password}\n", private=True)


def _keys(place: Place, *, lived: bool) -> None:
    """Make the keys that a workspace begins with: its owner's, and the one that Prometheus reads metrics by."""
    scraping, letting = place.secrets / "prometheus" / "key", place.secrets / "platform" / "keys.json"
    lost = [path for path in (scraping, place.key) if not (path.exists() and path.stat().st_size)]
    if lived and lost:
        msg = (
            f"{lost[0]} is gone, and workspace {place.name} knows no other: docs/operations.md, Rotate, makes a new one"
        )
        raise AccessError(msg)
    if lost or not letting.exists():
        keys, shown = Keys().add("prometheus", "viewer")
        keys, own = keys.add("owner", "admin")
        write_text(scraping, shown, private=True)
        keys.save(letting)
        write_text(place.key, own, private=True)


def _webhook(path: Path) -> None:
    """Hold what somebody wrote against what Alertmanager takes: with anything else it would not start."""
    if (told := _once(path, "").strip()) and not ADDRESS.fullmatch(told):
        msg = f"{path} holds no address: that is one line, http://... or https://...; empty it to tell nobody"
        raise AccessError(msg)


def _people(place: Place) -> None:
    """Write for the gateway who is let in, and who has which role; a password that stays keeps its digest."""
    path = place.secrets / "gateway" / "people"
    before = path.read_text() if path.exists() else ""
    known, people = dict(HASH.findall(before)), _listed(place.people)
    hashes = [f"\t{name} {_digest(password, known.get(name))}" for name, (_, password) in people.items()]
    roles = [f"\t{name} {role}" for name, (role, _) in people.items()]
    text = "\n".join(["basicauth {", *hashes, "}", "map {http.auth.user.id} {role} {", *roles, "}", ""])
    if text != before:
        write_text(path, text, private=True)


def _listed(folder: Path) -> dict[str, tuple[str, str]]:
    """Give each person's role and password."""
    found: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.iterdir()):
        role, _, name = path.name.partition(".")
        if role not in ROLES or not NAME.fullmatch(name):
            form = f"<role>.<name>, with a role of {', '.join(ROLES)} and a name of A-Z, a-z, 0-9, _, ., @ and -"
            msg = f"{path} names nobody: a file is called {form}, but not import"
            raise AccessError(msg)
        if name in found:
            msg = f"{path}: {name} is {found[name][0]} already, by a file of its own; delete one of the two"
            raise AccessError(msg)
        found[name] = role, _password(path)
    return found


def _password(path: Path) -> str:
    try:
        password = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        msg = f"{path} cannot be read: {exc}"
        raise AccessError(msg) from exc
    if not (password.isprintable() and 0 < len(password.encode()) <= LONGEST):
        msg = f"{path} holds no password: that is one line of {LONGEST} bytes at most. Delete the file to let nobody in"
        raise AccessError(msg)
    return password


def _digest(password: str, known: str | None) -> str:
    """Give a password's digest as Caddy takes it: the one that is known if it is still of that password."""
    if known and _crypt(password, base64.b64decode(known)) == base64.b64decode(known):
        return known
    salt = "$2b$08$" + "".join(secrets.choice(SALTS) for _ in range(21)) + "."
    return base64.b64encode(_crypt(password, salt.encode())).decode()


def _crypt(password: str, salt: bytes) -> bytes:
    """Hash as bcrypt, of a small cost, as a password of ours is 256 random bits.

    It is the C library's, as Python has none from 3.13 on. Scrypt would take the gateway 32 MiB for each who tries.
    """
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    digest: bytes = library.crypt(password.encode(), salt)
    return digest


def _hand_over(folder: Path) -> None:
    """Give each file to the one user who reads it."""
    for reader, user in READERS.items():
        for path in (*(folder / reader).iterdir(), folder / reader):
            os.chown(path, user, user)
            path.chmod(0o500 if path.is_dir() else 0o400)
