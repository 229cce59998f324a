"""What tests of ingest ask of a workspace, and do to it."""

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
from conftest import Workspace

from tandem.landing import Pins

Raw = list[tuple[str, Path]]


def report_of(workspace: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.data / "reports" / "ingest.json").read_text())
    return found


def facts_of(workspace: Workspace, kind: str) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((workspace.data / "facts" / kind).iterdir()))


def state_of(workspace: Workspace) -> dict[str, bytes]:
    """All files of a workspace: data, lock, landing and cache."""
    paths = (path for path in workspace.root.rglob("*") if path.is_file())
    return {path.relative_to(workspace.root).as_posix(): path.read_bytes() for path in paths}


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def forget(workspace: Workspace) -> None:
    shutil.rmtree(workspace.settings.cache)


def relock(workspace: Workspace, *files: Path) -> None:
    """Leave the pins of these raw files and no others."""
    digests = {digest(file) for file in files}
    Pins(pins=tuple(pin for pin in Pins.load(workspace.lock).pins if pin.sha256 in digests)).save(workspace.lock)


def delivered(at: str) -> dict[str, object]:
    return {"parcel": "P000001", "courier": "c01", "status": "delivered", "signed": True, "at": at}


def run_in(workspace: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a workspace that is a copy of the tree: its code and not this one's, which alone is measured."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    own |= {"PYTHONPATH": str(workspace.root), "TANDEM_TRACKING_URI": ""}
    command = (sys.executable, *words)
    return subprocess.run(command, cwd=workspace.root, env=own, capture_output=True, text=True, check=False)
