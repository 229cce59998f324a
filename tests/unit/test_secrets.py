"""A workspace's secrets: made once, each for one reader, and people by files."""

import base64
import ctypes
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

from tandem.errors import AccessError, MissingError
from tandem.serving.access import Keys, digest_of
from tandem.workspace import READERS, Place
from tasks.secrets import make_secrets

OWNED: dict[Path, int] = {}


@pytest.fixture(autouse=True)
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
    """Who would be given what: only root may give a file away."""
    OWNED.clear()
    monkeypatch.setattr(os, "chown", lambda path, user, _: OWNED.__setitem__(path, user))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return OWNED


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("dev", tmp_path)


def again(place: Place, *, lived: bool = False) -> None:
    """Make secrets once more, for whoever runs this: root alone writes into what it gave away."""
    for reader in READERS:
        (place.secrets / reader).chmod(0o700)
    make_secrets(place, lived=lived)


def held(place: Place) -> dict[str, str]:
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    return {path.relative_to(place.folder).as_posix(): path.read_text() for path in files}


def test_they_are_made_once(place: Place) -> None:
    make_secrets(place)
    before = held(place)
    again(place)
    assert held(place) == before


def test_no_two_are_alike(place: Place, tmp_path: Path) -> None:
    make_secrets(place)
    make_secrets(other := Place("prod", tmp_path))
    same = {name for name, text in held(place).items() if held(other).get(name) == text}
    assert same == {"secrets/alertmanager/webhook"}, "which is empty until somebody writes an address into it"


def test_each_is_for_one_reader_alone(place: Place, owners: dict[Path, int]) -> None:
    make_secrets(place)
    for reader, user in READERS.items():
        folder = place.secrets / reader
        assert stat.S_IMODE(folder.stat().st_mode) == 0o500
        for path in folder.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o400
            assert owners[path] == user
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700


def test_databases_have_passwords_that_their_clients_know(place: Place) -> None:
    make_secrets(place)
    for name in ("mlflow", "prefect"):
        password = (place.secrets / "postgres" / name).read_text()
        assert (place.secrets / name / "pgpass").read_text() == f"postgres:5432:{name}:{name}:{password}\n"


def test_the_owners_key_and_prometheus_open_the_door(place: Place) -> None:
    make_secrets(place)
    keys = Keys.load(place.secrets / "platform" / "keys.json")
    assert sorted((each.name, each.role) for each in keys.keys) == [("owner", "admin"), ("prometheus", "viewer")]
    told = {place.key.read_text(), (place.secrets / "prometheus" / "key").read_text()}
    assert len(told) == 2
    assert not [word for word in told if word in (place.secrets / "platform" / "keys.json").read_text()]


@pytest.mark.parametrize("lost", ["key", "secrets/prometheus/key"])
def test_keys_that_a_workspace_knows_no_other_than_are_not_made_anew_once_it_has_lived(lost: str, place: Place) -> None:
    make_secrets(place)
    (place.folder / lost).unlink()
    before = held(place)
    again(place, lived=False)
    assert place.key.read_text() != before.get("key")
    assert digest_of(place.key.read_text()) in (place.secrets / "platform" / "keys.json").read_text()
    for harm in (Path.unlink, Path.touch):
        (place.folder / lost).chmod(0o600)
        (place.folder / lost).write_text("")
        harm(place.folder / lost)
        with pytest.raises(AccessError, match=rf"{lost} is gone, and workspace dev knows no other"):
            again(place, lived=True)
        again(place, lived=False)


@pytest.mark.parametrize("held", ["", "\n", "two words", "it's", "größe"])
def test_a_databases_password_is_a_word(held: str, place: Place) -> None:
    make_secrets(place)
    path = place.secrets / "postgres" / "mlflow"
    path.chmod(0o600)
    path.write_text(held, "utf-16" if "ö" in held else None)
    with pytest.raises(AccessError, match="postgres/mlflow holds no secret"):
        again(place)
    path.write_text("of-my-own\n")
    again(place)
    assert (place.secrets / "mlflow" / "pgpass").read_text() == "postgres:5432:mlflow:mlflow:of-my-own\n"


def people(place: Place) -> dict[str, str]:
    text = (place.secrets / "gateway" / "people").read_text()
    return dict(re.findall(r"^\t(\w+) ([A-Za-z0-9+/=]{20,})$", text, re.MULTILINE))


def test_people_are_let_in_by_the_digest_of_their_password(place: Place) -> None:
    make_secrets(place)
    library = ctypes.CDLL("libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    found = people(place)
    assert sorted(found) == ["admin", "developer", "viewer"]
    for role, told in found.items():
        digest = base64.b64decode(told)
        assert digest.startswith(b"$2b$08$")
        password = (place.people / f"{role}.{role}").read_bytes()
        assert library.crypt(password, digest) == digest
        assert library.crypt(password + b"x", digest) != digest


def role_of(name: str, place: Place) -> str | None:
    text = (place.secrets / "gateway" / "people").read_text()
    found = re.search(rf"^\t{re.escape(name)} (admin|developer|viewer)$", text, re.MULTILINE)
    return found[1] if found else None


@pytest.mark.parametrize("name", ["ada", "anna-maria", "o.brien", "ada@example.org"])
def test_who_comes_is_let_in_and_who_left_is_not(name: str, place: Place) -> None:
    make_secrets(place)
    (place.people / f"viewer.{name}").write_text("of her own\n")
    again(place)
    assert role_of(name, place) == "viewer"
    (place.people / f"viewer.{name}").unlink()
    again(place)
    assert role_of(name, place) is None


def test_a_changed_password_counts_whatever_its_file_is_dated(place: Place) -> None:
    make_secrets(place)
    before = people(place)
    (place.people / "viewer.viewer").write_text("another")
    os.utime(place.people / "viewer.viewer", (0, 0))
    again(place)
    assert people(place)["viewer"] != before["viewer"]
    assert people(place)["admin"] == before["admin"]


@pytest.mark.parametrize(
    "name", ["ada", "boss.ada", "viewer.ada lovelace", "viewer.", "viewer.{role}", "viewer.ada~", "viewer.import"]
)
def test_a_file_that_names_nobody_is_told(name: str, place: Place) -> None:
    make_secrets(place)
    (place.people / name).write_text("x")
    with pytest.raises(AccessError, match=r"a file is called <role>\.<name>"):
        again(place)


@pytest.mark.parametrize("held", [b"", b" \n", b"one\ntwo", b"\0", b"x" * 73])
def test_a_file_without_a_password_lets_nobody_in(held: bytes, place: Place) -> None:
    make_secrets(place)
    (place.people / "admin.ada").write_bytes(held)
    with pytest.raises(AccessError, match=r"admin\.ada holds no password"):
        again(place)
    assert role_of("ada", place) is None


def test_a_file_that_is_no_text_is_told(place: Place) -> None:
    make_secrets(place)
    (place.people / "viewer.ada").write_bytes(b"\xff")
    with pytest.raises(AccessError, match=r"viewer\.ada cannot be read"):
        again(place)


def test_nobody_has_two_roles(place: Place) -> None:
    make_secrets(place)
    for role in ("developer", "viewer"):
        (place.people / f"{role}.ada").write_text(role)
    with pytest.raises(AccessError, match="ada is developer already"):
        again(place)


@pytest.mark.parametrize(
    "told",
    [
        "hooks.example.org/T0",
        "ftp://example.org",
        "https://",
        "https://a'b",
        "two\nlines",
        "https://a/[b]",
        "http://h:abc/t",
        "https://h/%zz",
        "http://[::1:1/t",
        "http://u[s]er:pw@h/t",
    ],
)
def test_an_address_that_alerts_could_not_be_sent_to_is_told(place: Place, told: str) -> None:
    make_secrets(place)
    path = place.secrets / "alertmanager" / "webhook"
    path.chmod(0o600)
    path.write_text("https://hooks.example.org/T0?key=a%20b&c=#d\n")
    again(place)
    path.chmod(0o600)
    path.write_text(told)
    OWNED.clear()
    with pytest.raises(AccessError, match="alertmanager/webhook holds no address"):
        again(place)
    assert OWNED[place.secrets / "mlflow" / "pgpass"] == READERS["mlflow"], "whoever runs still reads what is theirs"


def test_who_may_not_give_files_away_is_told_before_anything_is_made(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(AccessError, match="run this as root"):
        make_secrets(place)
    assert not place.folder.exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda each: each.locked, "`make images` builds the images"),
        (lambda each: each.variables(), "there are dev, p"),
    ],
)
def test_what_a_workspace_lacks_is_told(
    asked: Callable[[Place], object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(MissingError, match=words):
        asked(Place("nobody", tmp_path))
