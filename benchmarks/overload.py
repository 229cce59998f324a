"""The server when more comes than it can answer: what it still answers, how late, and how soon it is well again."""

import asyncio
import statistics
from pathlib import Path
from time import perf_counter
from typing import Any

import uvloop
from load import ask, question
from measure import Figure, Outcome
from serving import Server, ours, running

Said = dict[str, Any]
SECONDS = 4.0
ALL, FEW = 64, 8
"""Connections at the peak: as many as are answered at a time, and as many of bodies a thousand times as large."""
MORE, FASTER, ROWS = 10, 1.3, 1000
CALM, WELL = 1.5, 0.9
"""Well again: p99 and rate against those before."""
PATIENCE = 60.0


def loaded(  # noqa: PLR0913 - what a load is
    server: Server,
    body: bytes,
    connections: int,
    seconds: float = SECONDS,
    *,
    rate: float | None = None,
    warm: float = 1.0,
) -> Said:
    """Ask, and let nothing be lost.

    Raises:
        RuntimeError: another answer came than 200 or 503, or a connection was cut.

    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        said = runner.run(ask(server.url, question(server.url, body), connections, seconds, rate=rate, warm=warm))
    if not set(said["statuses"]) <= {200, 503} or said["lost"]:
        msg = f"{server.name}: {said}"
        raise RuntimeError(msg)
    return said


def well_again(server: Server, before: Said) -> float:
    """Give the seconds until a window of half a second is as those before."""
    start = perf_counter()
    while True:
        now = loaded(server, server.one, FEW, 0.5, warm=0.0)
        took = perf_counter() - start
        is_well = now["rate"] > WELL * before["rate"] and now["p99_us"] < CALM * before["p99_us"]
        if is_well or took > PATIENCE:
            return took


def overload(tree: Path, folder: Path, repeats: int) -> Outcome:
    """Ask for more than can be answered; `cases.overload` has the words."""
    folder.mkdir()
    server = ours(tree, ROWS)
    peaks: dict[str, list[Said]] = {"one row": [], "1,000 rows": []}
    over: dict[str, list[Said]] = {}
    well: list[float] = []

    def overloaded(name: str, body: bytes, connections: int, rate: float | None = None) -> None:
        over.setdefault(name, []).append(loaded(server, body, connections, rate=rate))
        well.append(well_again(server, calm))

    with running(server, folder):
        for _ in range(repeats):
            calm = loaded(server, server.one, FEW)
            peaks["one row"].append(loaded(server, server.one, ALL))
            peaks["1,000 rows"].append(loaded(server, server.many, FEW))
            faster = FASTER * peaks["one row"][-1]["rate"]
            overloaded("one row, 1.3 times as often", server.one, ALL * MORE, faster)
            overloaded("one row, ten times the connections", server.one, ALL * MORE)
            overloaded("1,000 rows, ten times the connections", server.many, FEW * MORE)
    out = Outcome()
    for name, told in over.items():
        pairs = list(zip(told, peaks[next(rows for rows in peaks if name.startswith(rows))], strict=True))
        out.figures += [
            Figure(f"{name}: the peak's answers, of those", [p["rate"] / t["rate"] for t, p in pairs], "x", 1 / 0.9),
            Figure(f"{name}: p99 of answers, of the peak's", [t["p99_us"] / p["p99_us"] for t, p in pairs], "x", 3),
        ]
    out.figures.append(Figure("until rate and p99 are as before", well, "s", 5))
    lines = ["| load | answers/s | p99, ms | sent away/s |", "|---|---:|---:|---:|"]
    for name, told in ({f"{rows}, at the peak": told for rows, told in peaks.items()} | over).items():
        rate, p99 = (statistics.median(each[what] for each in told) for what in ("rate", "p99_us"))
        away = statistics.median(each["statuses"].get(503, 0) / SECONDS for each in told)
        lines.append(f"| {name} | {rate:,.0f} | {p99 / 1000:,.1f} | {away:,.0f} |")
    out.notes = ["\n".join(lines)]
    return out
