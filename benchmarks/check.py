"""Hold what serving costs now against the last recorded figure: fails when it fell behind the no-op by a fifth.

Example: python benchmarks/check.py
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import ENVIRONMENT
from serving import CONNECTIONS, RATE, ROOT, load, noop, ours, running

FELL, ROUNDS, TRIES = 0.8, 5, 3
"""Of several tries the best counts, as other work on the machine lets the figure swing."""


def recorded() -> tuple[str, float]:
    """Give the newest raw figures' name, and our rate as a share of the no-op's."""
    newest = max((ROOT / "benchmarks" / "raw").glob("*-serve.json"))
    figures = json.loads(newest.read_text())["outcome"]["figures"]
    values: list[float] = next(each["values"] for each in figures if each["what"] == RATE)
    return newest.name, 1 / statistics.median(values)


def measured() -> float:
    """Ask both in turn."""
    servers = (ours(ROOT), noop(ROOT))
    with TemporaryDirectory() as folder, running(servers[0], Path(folder)), running(servers[1], Path(folder)):
        rates: list[list[float]] = [
            [load(server, server.one, CONNECTIONS)["rate"] for server in servers] for _ in range(ROUNDS)
        ]
    return statistics.median(own / other for own, other in rates)


def main() -> None:
    """Measure and compare."""
    name, before = recorded()
    subprocess.run([sys.executable, "-m", "flows.cli", "refresh"], check=True, env=ENVIRONMENT, cwd=ROOT)
    now = 0.0
    for _ in range(TRIES):
        now = max(now, measured())
        print(f"{now:.1%} of the no-op's rate; {before:.1%} in {name}")
        if now >= FELL * before:
            return
    sys.exit(f"serving fell behind: {now:.1%} of the no-op's rate, and it was {before:.1%}")


if __name__ == "__main__":
    main()
