"""Measure Tandem against its peers, keep the raw figures, and write RESULTS.md.

Example: python benchmarks/run.py --only ingest --repeats 3
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from cases import BENCHMARKS, GIT, HERE, ROOT
from report import write_results

ONCE = ("first_prediction", "scale")
PACKAGES = ("polars", "duckdb", "dataframely", "dvc", "xgboost-cpu")


def machine() -> dict[str, object]:
    """Say what it ran on, and what else ran there."""
    info = Path("/proc/cpuinfo")
    models = [line.partition(": ")[2] for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Name the commit, and say if what is measured is more than it."""
    asked = (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", ".", ":!benchmarks"])
    done = [subprocess.run([GIT, *words], cwd=ROOT, check=True, capture_output=True, text=True) for words in asked]
    return done[0].stdout.strip() + (" and changes" if done[1].stdout else "")


def measure(name: str, repeats: int) -> Path:
    """Run one benchmark and keep its raw figures."""
    benchmark, today = BENCHMARKS[name], datetime.now(UTC).date().isoformat()
    print(f"{name}: {benchmark.__doc__}")
    raw: dict[str, object] = {
        "date": today,
        "command": f"python benchmarks/run.py --only {name} --repeats {repeats}",
        "about": benchmark.__doc__,
        "commit": commit(),
        "machine": machine(),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "repeats": repeats,
    }
    with TemporaryDirectory(prefix="tandem-bench-") as folder:
        raw["outcome"] = benchmark(Path(folder), repeats).as_json()
    raw["load_after"] = round(os.getloadavg()[0], 2)
    target = HERE / "raw" / f"{today}-{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(raw, indent=1) + "\n")
    return target


def main() -> None:
    """Read the command line, measure, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", action="append", choices=BENCHMARKS, help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--repeats", metavar="N", type=int, default=5, help=f"of each case (5); once: {', '.join(ONCE)}"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing, write RESULTS.md from the raw figures")
    given = parser.parse_args()
    names = [] if given.report else given.only or list(BENCHMARKS)
    if len(names) > 1:  # a process for each: the kernel counts what this one held as its children's peak
        for name in names:
            subprocess.run([sys.executable, __file__, "--only", name, "--repeats", str(given.repeats)], check=True)
        return
    for name in names:
        print(f"wrote {measure(name, 1 if name in ONCE else given.repeats)}")
    print(f"wrote {write_results(HERE, tuple(BENCHMARKS))}")


if __name__ == "__main__":
    main()
