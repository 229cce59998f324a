"""Look whether this machine has what is needed, and say how to mend what it lacks."""

import importlib.metadata
import re
import shutil
import sys
from pathlib import Path
from typing import Any

GIB = 1024**3
MEMORY, DISK = 3, 5


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
    inside = (root / ".git").exists()
    words = "not installed" if not found else "installed" if inside else "installed, but this is no checkout"
    return _check("git", words, "apt-get install git", ok=found is not None)


def _packages(root: Path) -> dict[str, Any]:
    """Compare what is installed with the lock, where a line without a marker, or ours, is `name==version`."""
    lock = (root / "requirements.lock").read_text() if (root / "requirements.lock").is_file() else ""
    wanted = re.findall(r"^([a-z0-9._-]+)==([^ ;\\]+) \\$", lock, re.MULTILINE)
    installed = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in importlib.metadata.distributions()}
    wrong = [
        name
        for name, version in wanted
        if installed.get(name.replace("_", "-").replace(".", "-"), installed.get(name)) != version
    ]
    words = f"{len(wanted) - len(wrong)} of {len(wanted)} as locked" + (
        f"; not: {', '.join(wrong[:5])}" if wrong else ""
    )
    return _check("packages", words, "make setup", ok=bool(wanted) and not wrong)


def checks(root: Path) -> list[dict[str, Any]]:
    """Run every check."""
    return [_python(), _memory(), _disk(root), _packages(root), _git(root)]
