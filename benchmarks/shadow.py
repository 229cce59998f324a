"""What a shadow costs those who are answered: the same server with one and without, asked in turn at the same rate."""

import json
import shutil
import statistics
import sys
from pathlib import Path

import msgspec
from measure import ENVIRONMENT, Figure, Outcome
from overload import Said, loaded
from serving import ROWS, Server, ours, running

from tandem.bundle import Bundle, seal
from tandem.serving.traffic import BUNDLES, TRAFFIC, Traffic

CONNECTIONS, SECONDS, RATES = 64, 5.0, (500, 1500)


def laid_out(tree: Path, folder: Path, *, shadow: bool) -> Path:
    """Lay out the tree's bundle to be served, alone or with a twin of another name as its shadow."""
    serving = folder / "serving"
    bundle = Bundle.open(tree / "data" / "flights" / "bundle")
    twin = folder / "twin"
    shutil.copytree(bundle.folder, twin)
    seal(twin, bundle.annotations | {"note": "twin"})
    other = Bundle.open(twin)
    for each in (bundle, other):
        shutil.copytree(each.folder, serving / BUNDLES / each.digest)
    shutil.copytree(tree / "var" / "serving" / "snapshots", serving / "snapshots")
    said = Traffic(champion=bundle.digest, generation=1, shadow=other.digest if shadow else None)
    (serving / TRAFFIC).write_bytes(msgspec.json.encode(said))
    return folder


def server(tree: Path, folder: Path, port: int, *, shadow: bool) -> Server:
    """Serve what is laid out in a folder."""
    var = laid_out(tree, folder, shadow=shadow)
    words = ("-m", "tandem.serving", "--port", str(port), "--standing", "2013-11-01")
    own = ENVIRONMENT | {"PYTHONPATH": str(tree), "TANDEM_DATA": str(tree / "data"), "TANDEM_VAR": str(var)}
    asked, name = ours(tree, ROWS), "with a shadow" if shadow else "alone"
    return Server(name, (sys.executable, *words), port, asked.path, asked.one, asked.many, own)


def judged(ledger: Path) -> float:
    """Give the share of the answers that the shadow gave one of its own to."""
    kinds = [
        json.loads(line)["row"]["kind"]
        for path in ledger.rglob("[0-9a-f]*")
        if path.is_file()
        for line in path.read_text().splitlines()
    ]
    return kinds.count("shadow") / kinds.count("prediction")


def shadowed(tree: Path, folder: Path, repeats: int) -> Outcome:
    """Ask in turn; `cases.shadow` has the words."""
    folder.mkdir()
    alone, beside = (server(tree, folder / str(port), port, shadow=port == 18108) for port in (18107, 18108))
    found: dict[int, list[tuple[Said, Said]]] = {rate: [] for rate in RATES}
    with running(alone, folder), running(beside, folder):
        for _ in range(repeats):
            for rate, pairs in found.items():
                one, other = (loaded(each, each.one, CONNECTIONS, SECONDS, rate=rate) for each in (alone, beside))
                pairs.append((one, other))
    out = Outcome()
    lines = ["| asked/s | p50, us | with a shadow | p99, us | with a shadow |", "|---:|" + "---:|" * 4]
    for rate, pairs in found.items():
        ratios = [other["p99_us"] / one["p99_us"] for one, other in pairs]
        out.figures.append(Figure(f"p99 with a shadow, of that without, {rate} a second", ratios, "x", 1.05))
        shown = [statistics.median(pair[n][what] for pair in pairs) for what in ("p50_us", "p99_us") for n in (0, 1)]
        lines.append(f"| {rate} | " + " | ".join(f"{value:,.0f}" for value in shown) + " |")
    out.notes = ["\n".join(lines), f"The shadow answered {judged(folder / '18108' / 'ledger'):.1%} of what was asked."]
    return out
