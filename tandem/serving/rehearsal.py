"""A rehearsal: a bundle answers its golden requests in a process of its own, within limits, before anybody asks it.

What is wrong with a model may crash, hang or fill whoever loads it; here that is the child.
"""

import os
import resource
import subprocess
import sys
from pathlib import Path

from tandem.bundle import Bundle
from tandem.errors import BundleError, TandemError

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH")
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Threads that do nothing would take memory."""
LAST = 300
"""Characters of a reason, at most."""


def rehearse(bundle: Bundle, seconds: float, mib: int) -> None:
    """Let a bundle answer.

    Raises:
        BundleError: it does not give the scores that it promises, or not within the limits.

    """
    words = [sys.executable, "-m", "tandem.serving.rehearsal", str(bundle.folder), str(seconds), str(mib)]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ} | ONE
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            words,
            env=environment,
            check=False,
            capture_output=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours, and says nothing of the bundle
        )
    except subprocess.TimeoutExpired as exc:
        msg = f"bundle {bundle.digest[:12]} was not done with its golden requests after {seconds:g} s"
        raise BundleError(msg) from exc
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        told = said[-1].replace(f"{bundle.folder}/", "")[:LAST]
        how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else "failed"
        msg = f"bundle {bundle.digest[:12]} {how} at its golden requests: {told}"
        raise BundleError(msg)


def _limit(seconds: float, mib: int) -> None:
    for what, most in (
        (resource.RLIMIT_AS, mib << 20),
        (resource.RLIMIT_CPU, int(seconds) + 1),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def main(folder: str, seconds: str, mib: str) -> None:
    """Be the child: nothing is loaded before the limits hold."""
    _limit(float(seconds), int(mib))
    from tandem.serving.variant import Variant  # noqa: PLC0415 - the engine, within the limits

    try:
        Variant(Bundle.open(Path(folder))).rehearse()
    except TandemError as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main(*sys.argv[1:])
