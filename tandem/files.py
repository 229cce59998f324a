"""Files: written whole or not at all, named by what is in them."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tandem.errors import MissingError, UnwritableError

UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR}
TOLD = re.compile(r"os error (\d+)")
"""How Polars tells an error's number."""


def sha256_of(path: Path) -> str:
    """Digest of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def made(path: Path, stage: str) -> Path:
    """Return a path that a stage makes.

    Raises:
        MissingError: it has not.

    """
    if not path.exists():
        msg = f"{path} does not exist: `dvc repro {stage}` makes it"
        raise MissingError(msg)
    return path


def digest_of(*parts: str | bytes) -> str:
    """Digest of several parts, each told apart from the next."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def canonical_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON holds
    """Return the one way to write a value: sorted keys, no NaN, a newline at the end."""
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Tell a full disk and a folder that may not be written from what is wrong with us.

    Raises:
        UnwritableError: it is one of those.

    """
    try:
        yield
    except _failures() as exc:
        if _errno(exc) not in UNWRITABLE:
            raise
        msg = f"{target} cannot be written: {exc}"
        raise UnwritableError(msg) from exc


def _failures() -> tuple[type[Exception], ...]:
    """Say what is raised by those who write; Polars, where it is loaded at all, has an exception of its own."""
    polars = sys.modules.get("polars")
    return (OSError, polars.exceptions.ComputeError) if polars else (OSError,)


def _errno(exc: Exception) -> int | None:
    if isinstance(exc, OSError):
        return exc.errno
    told = TOLD.search(str(exc))
    return int(told[1]) if told else None


@contextmanager
def atomic(target: Path) -> Iterator[Path]:
    """Give a temporary path beside the target, and rename it into place if nothing was raised.

    Raises:
        UnwritableError: the disk is full, or nothing may be written there.

    """
    with writing(target):
        if target.exists() and not target.is_file():  # a device, which for root would be a file from then on
            raise OSError(errno.EEXIST, "it is there, and no file", str(target))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            yield temporary
            os.replace(temporary, target)  # noqa: PTH105 - the rename that is atomic
        finally:
            temporary.unlink(missing_ok=True)


def write_text(target: Path, text: str, *, private: bool = False) -> Path:
    """Write a text file in one step; a private one is its owner's alone from its first byte on."""
    with atomic(target) as temporary:
        temporary.touch(0o600 if private else 0o666)
        temporary.write_text(text, encoding="utf-8")
    return target


def secret_of(path: Path) -> bytes:
    """Read a secret of our own, which whoever comes first makes; nobody else may read it."""
    if not path.exists():
        own = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        write_text(own, secrets.token_hex(32), private=True)
        with suppress(FileExistsError):  # another one was faster, and that one's holds
            path.hardlink_to(own)
        own.unlink()
    return path.read_bytes()


def write_json(target: Path, value: Any) -> Path:  # noqa: ANN401 - whatever JSON holds
    """Write JSON for people in one step, its keys in the order they were made."""
    return write_text(target, json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside the target, and put it in the target's place if nothing was raised.

    Raises:
        UnwritableError: the disk is full, or nothing may be written there.

    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary, former = (target.with_name(f".{target.name}.{secrets.token_hex(4)}") for _ in range(2))
        temporary.mkdir()
        try:
            yield temporary
            if target.exists():
                target.rename(former)  # as a whole: it is never there by half
            temporary.rename(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.rmtree(former, ignore_errors=True)
