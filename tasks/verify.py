"""Build a bundle again from what it carries, and find where it differs first."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from tandem.bundle import MANIFEST, Bundle
from tandem.errors import CannotVerifyError, DivergesError
from tandem.files import sha256_of
from tandem.landing import Pin, Pins
from tandem.run import step
from tandem.tarball import unpack

REPORTS = {"ingest": "ingest", "training_set": "training_set", "evaluate": "evaluation"}
"""The report of each stage that the bundle holds itself, so that a difference can be told by its value."""
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+?)(?: ;.*)? \\$", re.MULTILINE)
ELSEWHERE = re.compile(r"No space left on device|MemoryError|No module named '(?!flows|tasks|tandem|problems)")
"""What a stage says that fails for what is around it, and not for what it is made of."""
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "PIP_CERT")


@step
def lay_out(bundle: Bundle, landing: Path, folder: Path) -> None:
    """Lay out the bundle's own source and the raw files that it pins, and nothing else.

    Raises:
        ArchiveError: the source holds what is no file of it.
        CannotVerifyError: a raw file is not in the landing.
        DivergesError: a raw file is not the one that was pinned.

    """
    unpack(bundle.folder / "source.tar", folder)
    raw = folder / "var" / "landing"
    raw.mkdir(parents=True)
    for pin in pins_of(bundle, folder):
        there = landing / pin.sha256
        if not there.is_file():
            msg = (
                f"landing {pin.sha256} ({pin.source}): `tandem run` fetches what is pinned, and `tandem land` takes it"
            )
            raise CannotVerifyError(msg)
        if (got := sha256_of(there)) != pin.sha256:
            raise DivergesError(stage="landing", file=pin.source, value=f"{got} where {pin.sha256} is pinned")
        shutil.copyfile(there, raw / pin.sha256)


def pins_of(bundle: Bundle, folder: Path) -> Iterator[Pin]:
    """Give the raw files that the bundle says it is made of, as its own source pins them."""
    wanted = {digest for digests in bundle.json("inputs.json")["landing"].values() for digest in digests}
    pins = {pin.sha256: pin for pin in Pins.load(folder / "data" / "sources.lock").pins}
    for digest in sorted(wanted):
        if digest not in pins:
            msg = f"data/sources.lock in its source, which should pin {digest}"
            raise CannotVerifyError(msg)
        yield pins[digest]


@step
def check_environment(bundle: Bundle, folder: Path) -> None:
    """Check that the installed packages are those of the bundle's lock.

    Raises:
        CannotVerifyError: a package is missing, or another version of it is here.

    """
    lock = folder / "requirements.lock"
    if sha256_of(lock) != bundle.json("inputs.json")["environment"]:
        msg = "requirements.lock as inputs.json names it"
        raise CannotVerifyError(msg)
    for name, wanted in PINNED.findall(lock.read_text()):
        if (here := _installed(name)) not in (wanted, None):
            msg = f"{name} {wanted} (here is {here})"
            raise CannotVerifyError(msg)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None  # not all are for this platform; one that is needed fails by itself


@step
def run_stage(stage: str, command: str, folder: Path) -> None:
    """Run one stage of the source in its folder, without any cache, tracking or server.

    Raises:
        CannotVerifyError: the system ended it, or lacks what it needs.
        DivergesError: it failed by itself.

    """
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {"TANDEM_TRACKING_URI": ""}
    words = [sys.executable, *command.split()[1:]]
    done = subprocess.run(words, cwd=folder, env=environment, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason"]
        if done.returncode < 0 or ELSEWHERE.search(said[-1]):
            how = f"signal {-done.returncode} ended it" if done.returncode < 0 else said[-1]
            msg = f"{stage}: {how}"
            raise CannotVerifyError(msg)
        raise DivergesError(stage, f"exit {done.returncode}", said[-1])


def stages_of(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Give each stage's command and outputs, as the source states them, in their order."""
    problem = yaml.safe_load((folder / "params.yaml").read_text())["problem"]
    stated = yaml.safe_load((folder / "dvc.yaml").read_text().replace("${problem}", problem))["stages"]
    return {
        name: (stage["cmd"], [out if isinstance(out, str) else next(iter(out)) for out in stage.get("outs", [])])
        for name, stage in stated.items()
    }


@step
def compare_stage(bundle: Bundle, stage: str, outs: list[str], folder: Path) -> int:
    """Compare what a stage wrote with what the bundle says it is, and count the files.

    Raises:
        DivergesError: a file is missing, too many, or another one.

    """
    data = folder / "data" / bundle.spec.problem
    below = tuple(Path(out).relative_to(data.relative_to(folder)).as_posix() for out in outs)
    if stage == "bundle":
        return _compare_bundle(bundle, data / "bundle")
    known: Mapping[str, str] = bundle.json("inputs.json")["stages"]
    wanted = {name: digest for name, digest in known.items() if name.startswith(tuple(f"{out}/" for out in below))}
    found = {name: sha256_of(data / name) for name in wanted if (data / name).is_file()}
    if stage in REPORTS:
        _compare_json(stage, bundle.folder / "reports" / f"{REPORTS[stage]}.json", data / "reports")
    for name in sorted(wanted):
        if found.get(name) != wanted[name]:
            raise DivergesError(stage, name, f"{found.get(name, 'missing')} where {wanted[name]} was")
    return len(wanted)


def _compare_bundle(bundle: Bundle, folder: Path) -> int:
    again = Bundle.open(folder)
    for name in sorted({*bundle.files, *again.files}):
        ours, theirs = bundle.files.get(name), again.files.get(name)
        if ours and theirs and ours != theirs and name.endswith(".json"):
            _compare_json("bundle", bundle.folder / name, (folder / name).parent)
        if ours != theirs:
            raise DivergesError(stage="bundle", file=name, value=f"{theirs or 'missing'} where {ours or 'nothing'} was")
    if again.digest != bundle.digest:
        raise DivergesError(stage="bundle", file=MANIFEST, value=f"{again.digest} where {bundle.digest} was")
    return len(bundle.files)


def _compare_json(stage: str, ours: Path, folder: Path) -> None:
    theirs = folder / ours.name
    found = difference(json.loads(ours.read_text()), json.loads(theirs.read_text()) if theirs.is_file() else None)
    if found:
        raise DivergesError(stage, ours.name, found)


def difference(was: object, now: object, where: str = "") -> str | None:
    """Name the first value that is not the same, by its path."""
    if isinstance(was, dict) and isinstance(now, dict):
        pairs = [(f"{where}.{key}" if where else str(key), was.get(key), now.get(key)) for key in {**was, **now}]
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        pairs = [(f"{where}[{place}]", *pair) for place, pair in enumerate(zip(was, now, strict=True))]
    else:
        return None if was == now else f"{where or 'it'}: {_shown(now)} where {_shown(was)} was"
    return next(filter(None, (difference(a, b, name) for name, a, b in pairs)), None)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
