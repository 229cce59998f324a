"""Look whether this machine has what is needed, and say how to mend what it lacks."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tandem.errors import MissingError

GIB = 1024**3
MEMORY, DISK = 3, 5
TERRAFORM = 9
"""The least of its versions 1; infra/terraform/versions.tf says so, too."""


def _check(name: str, found: str, mend: str, *, ok: bool) -> dict[str, Any]:
    return {"name": name, "ok": ok, "found": found, "mend": "" if ok else mend}


def _python() -> dict[str, Any]:
    found = ".".join(map(str, sys.version_info[:3]))
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return _check("python", found, "make clean && make setup PYTHON=python3.12", ok=ok)


def _memory() -> dict[str, Any]:
    import psutil  # noqa: PLC0415

    free = psutil.virtual_memory().available / GIB
    return _check("memory", f"{free:.1f} GiB free", f"close programs: {MEMORY} GiB are needed", ok=free >= MEMORY)


def _disk(root: Path) -> dict[str, Any]:
    free = shutil.disk_usage(root).free / GIB
    return _check("disk", f"{free:.0f} GiB free", f"make clean, or free {DISK} GiB", ok=free >= DISK)


def _git(root: Path) -> dict[str, Any]:
    found = shutil.which("git")
    if not found:
        return _check("git", "not installed", "apt-get install git", ok=False)
    inside, config = (root / ".git").exists(), root / ".dvc" / "config"
    without = config.is_file() and "no_scm = true" in config.read_text().lower()
    words = "installed" if inside else "installed, but this is no checkout"
    return _check("git", words, "dvc config core.no_scm true", ok=inside or without)


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _packages(root: Path) -> dict[str, Any]:
    """Compare what is installed with what the lock demands on this platform."""
    from packaging.requirements import Requirement  # noqa: PLC0415

    lock = root / "requirements.lock"
    if not lock.is_file():
        return _check("packages", f"no {lock.resolve()}", "cd to the project's folder", ok=False)
    lines = [line.removesuffix("\\") for line in lock.read_text().splitlines() if line[:1].isalnum()]
    wanted = [need for need in map(Requirement, lines) if not need.marker or need.marker.evaluate()]
    wrong = [need.name for need in wanted if not need.specifier.contains(_installed(need.name), prereleases=True)]
    words = f"{len(wanted) - len(wrong)} of {len(wanted)} as locked"
    return _check("packages", ", ".join([words, *(f"not {name}" for name in wrong[:5])]), "make setup", ok=not wrong)


def _engine() -> dict[str, Any]:
    """Look for a Docker engine; a machine without one lacks nothing but workspaces."""
    from tasks.containers import engine  # noqa: PLC0415 - 0.2 s

    try:
        words = f"Docker {engine().version()['Version']}"
    except MissingError:
        words = "no Docker engine answers, and only workspaces need one: apt-get install docker.io"
    return _check("engine", words, "", ok=True)


def _terraform() -> dict[str, Any]:
    """Look for Terraform; who has none, or is not root, lacks nothing but workspaces."""
    where = "https://developer.hashicorp.com/terraform/install"
    if not (own := shutil.which("terraform")):
        return _check("terraform", f"not installed, and only workspaces need it: {where}", "", ok=True)
    said = subprocess.run([own, "version", "-json"], check=False, capture_output=True, text=True).stdout  # noqa: S603
    found = json.loads(said or "{}").get("terraform_version", "no version")
    ok = found.split(".")[0] == "1" and int(found.split(".")[1]) >= TERRAFORM
    return _check("terraform", f"{own}, {found}", f"1.{TERRAFORM} or newer, for workspaces: {where}", ok=ok)


def _root() -> dict[str, Any]:
    words = "not root, and only workspaces need that" if os.geteuid() else "root, as workspaces need"
    return _check("user", words, "", ok=True)


def checks(root: Path) -> list[dict[str, Any]]:
    """Run every check."""
    return [_python(), _memory(), _disk(root), _packages(root), _git(root), _engine(), _terraform(), _root()]
