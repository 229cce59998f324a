"""Prove a bundle: build it again from what it carries, the locked packages and the landing alone, and compare."""

import platform
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tandem.bundle import Bundle
from tandem.run import operation
from tasks.verify import check_environment, compare_stage, lay_out, run_stage, stages_of


@operation
def verify(bundle: Bundle, landing: Path, tell: Callable[[str], None]) -> None:
    """Rebuild in an empty folder, stage by stage, and stop at the first difference."""
    tell(f"bundle {bundle.digest}, on Python {platform.python_version()}, {sys.platform} {platform.machine()}")
    with TemporaryDirectory(prefix="tandem-verify-") as name:
        folder = Path(name)
        lay_out(bundle, landing, folder)
        check_environment(bundle, folder)
        for stage, (command, outs) in stages_of(folder).items():
            run_stage(stage, command, folder)
            tell(f"{stage:<14}the same ({compare_stage(bundle, stage, outs, folder)} files)")
