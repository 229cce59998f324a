"""RESULTS.md, made from the newest raw figures of each benchmark."""

import inspect
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEAD = """\
# Results

Made by `make bench` from the newest raw figures of each benchmark in [raw](raw); do not edit. Times are wall seconds of
whole processes, memory is the largest process's peak as the kernel counted it, both as median (smallest to largest).
Cases of one table ran in turn in one go. "Ours, imports apart" is the same work, timed inside the process.
"""


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Show a median and what lies around it."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def column(runs: Sequence[dict[str, float | None]], name: str, digits: int) -> str:
    """Show one column of a case, if it has it."""
    values = [value for run in runs if (value := run.get(name)) is not None]
    return spread(values, digits) if values else ""


def section(name: str, raw: dict[str, Any]) -> str:
    """Show one benchmark."""
    result, machine = raw["outcome"], raw["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in raw["versions"].items())
    host = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"
    load = f"{machine['load']} before it began" + (f", {raw['load_after']} at its end" if "load_after" in raw else "")
    lines = [
        f"## {name}",
        "",
        inspect.cleandoc(raw["about"]),
        "",
        f"{raw['date']}, commit {raw['commit']}, {raw['repeats']} repeats of each: `{raw['command']}`<br>",
        f"{host}, load {load}<br>",
        versions,
        "",
        "| figure | measured | goal: at most | met |",
        "|---|---:|---:|---|",
    ]
    for figure in result["figures"]:
        goal, unit = figure["goal"], figure["unit"]
        met = "" if goal is None else "yes" if statistics.median(figure["values"]) <= goal else "**no**"
        at_most = "" if goal is None else f"{goal:.3g} {unit}"
        lines.append(
            " | ".join([f"| {figure['what']}", f"{spread(figure['values'])} {unit}", at_most, met, ""]).rstrip()
        )
    if result["runs"]:
        lines += ["", "| case | whole process, s | its CPU, s | work, s | peak, MiB |", "|---|---:|---:|---:|---:|"]
    for case, runs in result["runs"].items():
        digits = {"seconds": 2, "cpu_seconds": 2, "work_seconds": 2, "peak_mib": 0}
        lines.append(" | ".join([f"| {case}", *(column(runs, name, n) for name, n in digits.items()), ""]).rstrip())
    return "\n".join([*lines, *(f"\n{note}" for note in result["notes"])])


def write_results(folder: Path, names: Sequence[str]) -> Path:
    """Write RESULTS.md from what was measured last."""
    newest = {name: sorted((folder / "raw").glob(f"*-{name}.json"))[-1:] for name in names}
    parts = [section(name, json.loads(path.read_text())) for name, found in newest.items() for path in found]
    target = folder / "RESULTS.md"
    target.write_text("\n".join([HEAD, "\n\n".join(parts), ""]))
    return target
