"""The project's own commands, run as processes in a folder of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from typing import IO

from conftest import ROOT, copy_tree

ENVIRONMENT = {"TANDEM_TRACKING_URI": "", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
NOTHING: Mapping[str, str] = {}
Tandem = Callable[..., tuple[int, str, str]]
"""Runs a command in the test's own process: its exit code, output and errors."""


def environment(folder: Path, beside: Mapping[str, str] = NOTHING) -> dict[str, str]:
    """What a command sees: the folder's own code first, no tracker, and this interpreter as `python`."""
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(folder), **beside}


def command(folder: Path, *words: str, beside: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        words, cwd=folder, env=environment(folder, beside), capture_output=True, text=True, check=False
    )


def tandem(folder: Path, *words: str, beside: Mapping[str, str] = NOTHING) -> subprocess.CompletedProcess[str]:
    """Run a `tandem` command to its end."""
    return command(folder, sys.executable, "-m", "flows.cli", *words, beside=beside)


@contextmanager
def begun(folder: Path, *words: str) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """Begin a `tandem` command; give its process and what it prints, for who ends it in the middle."""
    own = [sys.executable, "-m", "flows.cli", *words]
    pipe, mute = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(own, cwd=folder, env=environment(folder), stdout=pipe, stderr=mute, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout


@contextmanager
def serving(folder: Path, beside: Mapping[str, str] = NOTHING) -> Iterator[str]:
    """Serve the folder's bundle, and give the address."""
    with served(folder, beside) as (address, _):
        yield address


@contextmanager
def served(folder: Path, beside: Mapping[str, str] = NOTHING) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Serve the folder's bundle, and give the address and the process."""
    words = [sys.executable, "-m", "flows.cli", "serve", "--port", "0"]
    own, pipe = environment(folder, beside), subprocess.PIPE
    with subprocess.Popen(words, cwd=folder, env=own, stderr=pipe, text=True) as server:
        assert server.stderr is not None
        address = next(line.split()[-1] for line in server.stderr if line.startswith("serving on"))
        try:
            yield address, server
        finally:
            server.terminate()
            server.wait()


def fast_tree(folder: Path) -> Path:
    """Copy the tree with params.fast.yaml in place of params.yaml, without git and without any data."""
    copy_tree(folder, ROOT / "params.fast.yaml")
    copyfile(ROOT / "data" / "sources.lock", folder / "data" / "sources.lock")
    done = command(folder, "dvc", "config", "core.no_scm", "true")
    assert done.returncode == 0, done.stderr
    return folder
