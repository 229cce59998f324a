"""What is measured, each against a peer or a no-op in the same run; every command runs in a copy of the tree."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml
from answer import PLAIN, PORT, Question, until_answer
from measure import ENVIRONMENT, Case, Figure, Outcome, Run, fastest, measured, ratio, repeated
from same import compared

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
GIT = shutil.which("git") or "git"
STAGES = tuple(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
HEAVY = "dataframely dvc evidently fastapi mlflow numpy onnxruntime optuna pandas polars prefect scipy sklearn xgboost"


def copy_of_tree(folder: Path, params: str = "params.yaml", as_of: str | None = None) -> Path:
    """Clone the tree, with what is not committed yet, and what has landed."""
    subprocess.run([GIT, "clone", "--quiet", ROOT, folder], check=True)
    listed = [GIT, "ls-files", "--modified", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copyfile(ROOT / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    chosen = yaml.safe_load((folder / params).read_text())
    (folder / "params.yaml").write_text(yaml.safe_dump(chosen | ({"as_of": as_of} if as_of else {})))
    if (ROOT / "var" / "landing").is_dir():
        shutil.copytree(ROOT / "var" / "landing", folder / "var" / "landing")
    return folder


def stage(name: str) -> list[str]:
    """Give the command of a stage."""
    return [sys.executable, "-m", f"flows.{name}"]


def script(name: str, *words: object) -> list[str]:
    """Give the command of a script beside this one."""
    return [sys.executable, str(HERE / f"{name}.py"), *map(str, words)]


def ingest(folder: Path, repeats: int) -> Outcome:
    """Raw files to facts, contracts and quarantine, against a bare read of the same files to Parquet."""
    tree = copy_of_tree(folder / "tree")
    measured(stage("ingest"), tree)  # what has not landed is fetched
    landed = sorted((tree / "var" / "landing").iterdir())

    def forget() -> None:
        shutil.rmtree(tree / "var" / "cache", ignore_errors=True)

    cases = {
        "ours": Case([stage("ingest")], tree, forget),
        "ours, imports apart": Case([script("work", "ingest")], tree, forget),
        "DuckDB": Case([script("bare_read", "duckdb", *landed)], tree),
        "Polars": Case([script("bare_read", "polars", *landed)], tree),
    }
    out = Outcome(repeated(cases, repeats))
    whole = fastest({name: out.seconds(name) for name in ("DuckDB", "Polars")})
    bare = fastest({name: out.work(name) for name in ("DuckDB", "Polars")})
    out.figures = [
        Figure(f"whole process, against {whole}'s", ratio(out.seconds("ours"), out.seconds(whole)), "x", 2),
        Figure(
            f"work, imports apart, against {bare}'s", ratio(out.work("ours, imports apart"), out.work(bare)), "x", 2
        ),
    ]
    return out


def scale(folder: Path, repeats: int) -> Outcome:
    """Ingest of a year, of ten and of a hundred: the same rows with their dates shifted, two more raw files a year.

    It breaks where one raw file is too large: a file is read, judged and mapped whole, so that memory goes by its rows
    and not by how many files there are; what is larger must land in pieces. And it breaks where too many rows are
    refused: a source's quarantine is put in order as a whole, each row with all it said. Of a hundred years of which
    the contract knew 88 the other 4 million rows took 2.2 GiB.
    """
    tree = copy_of_tree(folder / "tree")
    measured(stage("ingest"), tree)
    shutil.copyfile(tree / "data" / "sources.lock", tree / "data" / "first.lock")

    def land(years: int, how: str) -> None:
        shutil.rmtree(tree / "var" / "cache", ignore_errors=True)
        shutil.rmtree(tree / "data" / "flights", ignore_errors=True)
        measured(script("years", tree, years, how), tree)

    names = {1: "a year", 10: "10 years", 100: "100 years"}
    together = {f"{years} years in one file": years for years in (2, 4)}
    cases = {name: Case([stage("ingest")], tree, partial(land, years, "one")) for name, years in together.items()}
    cases |= {name: Case([stage("ingest")], tree, partial(land, years, "each")) for years, name in names.items()}
    out = Outcome(repeated(cases, repeats, warm=False))
    for years, goal in ((10, None), (100, 1536)):
        told = f"{names[years]} against one"
        by_row = [ours / years for ours in ratio(out.cpu(names[years]), out.cpu("a year"))]
        waited = [ours / years for ours in ratio(out.seconds(names[years]), out.seconds("a year"))]
        out.figures += [
            Figure(f"CPU a row, {told}", by_row, "x", 1.2),
            Figure(f"time a row, {told}", waited, "x", 1.2),
            Figure(f"peak memory, {names[years]}", out.peak(names[years]), "MiB", goal),
        ]
    out.figures += [Figure(f"peak memory, {name}", out.peak(name), "MiB", None) for name in together]
    said = json.loads((tree / "data" / "flights" / "reports" / "ingest.json").read_text())["sources"]
    landed = [of for source in said.values() for of in source["landings"].values()]
    rows, odd = (
        sum(of[what] for one in landed for name, of in one.items() if name in said) for what in ("rows", "quarantined")
    )
    files = sum(1 for _ in (tree / "data" / "flights" / "facts").rglob("*.parquet"))
    out.notes = [
        f"The last run read {rows:,} raw rows, of which {odd:,} are in quarantine, into {files:,} files of facts.",
    ]
    return out


def features(folder: Path, repeats: int) -> Outcome:
    """Views and training set of the year, against two peers in Polars by hand, from the same facts.

    The one like for like writes what ours writes: all 14 views, with their rows at every tick, and the training set
    joined from them. The one for requests only writes the training set alone and makes no views, so nothing could be
    served from what it writes.
    """
    tree = copy_of_tree(folder / "tree", as_of="2014-01-01")
    measured(stage("ingest"), tree)
    data, both, only = tree / "data" / "flights", folder / "like_for_like", folder / "rows.parquet"
    stages = ("views", "training_set")
    peers = {"Polars, like for like": "polars_views", "Polars, requests only": "polars_features"}
    cases = {
        "ours": Case([stage(name) for name in stages], tree),
        "ours, imports apart": Case([script("work", name) for name in stages], tree),
        **{
            peer: Case([script(name, data / "facts", target)], tree)
            for (peer, name), target in zip(peers.items(), (both, only), strict=True)
        },
    }
    out = Outcome(repeated(cases, repeats))
    must_be_same(data / "views", both / "views")
    for rows in (both / "rows.parquet", only):
        must_be_same(data / "training_set" / "rows.parquet", rows)
    for peer, goal in zip(peers, (1.5, None), strict=True):
        theirs = f"against {peer}"
        out.figures += [
            Figure(f"whole processes, {theirs}", ratio(out.seconds("ours"), out.seconds(peer)), "x", goal),
            Figure(f"their CPU, {theirs}", ratio(out.cpu("ours"), out.cpu(peer)), "x", None),
            Figure(f"work, imports apart, {theirs}", ratio(out.work("ours, imports apart"), out.work(peer)), "x", goal),
        ]
    out.figures += [Figure("peak memory", out.peak("ours"), "MiB", 600)]
    out.figures += [Figure(f"peak memory of {peer}", out.peak(peer), "MiB", None) for peer in peers]
    out.notes = [
        "The like-for-like peer's views and both training sets equal ours in every column and row, numbers to 1e-9.",
        "The peers are one process and hand over in memory. Ours also checks requests by contract and views for order.",
    ]
    return out


def must_be_same(ours: Path, theirs: Path) -> None:
    """Compare what was written.

    Raises:
        ValueError: it differs.

    """
    if found := compared(ours, theirs):
        raise ValueError("\n".join(found))


def graph(folder: Path, repeats: int) -> Outcome:
    """What DVC adds to the stages, with the params of the tests; caches are warm on both sides."""
    tree = copy_of_tree(folder / "tree", "params.fast.yaml")
    measured(["dvc", "repro"], tree)
    unchanged = {
        "dvc repro, nothing changed": Case([["dvc", "repro"]], tree),
        "dvc version": Case([["dvc", "version"]], tree),
        "python -c pass": Case([[sys.executable, "-c", "pass"]], tree),
    }
    forced = {
        "dvc repro -f": Case([["dvc", "repro", "-f"]], tree),
        "the stages by hand": Case([stage(name) for name in STAGES], tree),
    }
    out = Outcome(repeated(unchanged, repeats) | repeated(forced, repeats))
    own = zip(out.seconds("dvc repro -f"), out.seconds("the stages by hand"), strict=True)
    out.figures = [
        Figure("nothing changed", out.seconds("dvc repro, nothing changed"), "s", 2),
        Figure("over the stages by hand", [whole - stages for whole, stages in own], "s", 8),
    ]
    return out


def imports(folder: Path, repeats: int) -> Outcome:
    """How soon a command says something, and what it loads for that."""
    tree = copy_of_tree(folder / "tree", "params.fast.yaml")
    measured(["dvc", "repro"], tree)
    modules = [*(f"flows.{name}" for name in STAGES), "tandem.serving.app"]
    cases = {
        "python -c pass": Case([[sys.executable, "-c", "pass"]], tree),
        "tandem --help": Case([["tandem", "--help"]], tree),
        **{f"import {name}": Case([[sys.executable, "-c", f"import {name}"]], tree) for name in modules},
    }
    out = Outcome(repeated(cases, repeats))
    out.runs["tandem serve, until it is ready"] = [started(tree) for _ in range(repeats)]
    out.figures = [Figure("tandem --help", out.seconds("tandem --help"), "s", 0.3)]
    out.notes = [f"`import {name}` loads {', '.join(loaded(name, tree)) or 'nothing heavy'}." for name in modules]
    return out


def loaded(module: str, tree: Path) -> list[str]:
    """Name the heavy packages that an import brings."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY.split()} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=tree, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout.split()


def started(tree: Path) -> Run:
    """Start the server and wait until it is ready."""
    return until_answer(["tandem", "serve", "--port", PORT], tree, Question("/readyz"), ENVIRONMENT)


def first_prediction(folder: Path, repeats: int) -> Outcome:
    """From clone to the first prediction: `git clone`, `make run`, one request; memory is that of all processes."""
    name = "git clone, make run, first prediction"
    out = Outcome({name: []})
    example = (ROOT / "problems" / "flights" / "example.json").read_bytes()
    question = Question("/v1/predict", b'{"instances": [%s]}' % example, every=0.2, patience=1800)
    for repeat in range(repeats):
        tree, start = folder / f"clone{repeat}", time.perf_counter()
        subprocess.run([GIT, "clone", "--quiet", ROOT, tree], check=True)
        cloned = time.perf_counter() - start
        run = until_answer(["make", "run", f"PORT={PORT}"], tree, question, PLAIN)
        out.runs[name].append(Run(cloned + run.seconds, run.peak_mib))
    out.figures = [
        Figure("until the first prediction", [seconds / 60 for seconds in out.seconds(name)], "min", 5),
        Figure("memory of all its processes", [mib / 1024 for mib in out.peak(name)], "GiB", 3),
    ]
    return out


def served_tree(folder: Path) -> Path:
    """Make a tree with a bundle and a snapshot."""
    tree = copy_of_tree(folder / "tree")
    measured(["dvc", "repro"], tree)
    measured(["tandem", "refresh"], tree)
    return tree


def serve(folder: Path, repeats: int) -> Outcome:
    """Serve one row and a hundred, beside mlflow, MLServer, BentoML, FastAPI and a no-op of the same server.

    One worker each, eight connections that ask again as soon as they were answered, 3 s each in turn. Ours reads a
    request by its contract, looks up its views, computes its features, scores it and records the answer before it is
    sent; the peers score ready inputs and keep nothing. The client runs on the other core.
    """
    from serving import serving  # noqa: PLC0415 - so that others run without uvloop

    return serving(served_tree(folder), folder / "serving", repeats)


def overload(folder: Path, repeats: int) -> Outcome:
    """Ask for more than can be answered: 1.3 times as often, from ten times the connections, and by 1,000 rows.

    The peak is as many connections as the server answers at a time (64; 8 of 1,000 rows), which ask again as soon as
    they were answered. Who is sent away with 503 comes again after about the second that Retry-After names; at 1.3
    times the rate questions come whatever is answered, and their latency counts from when they were due.
    """
    from overload import overload  # noqa: PLC0415

    return overload(served_tree(folder), folder / "overload", repeats)


def shadow(folder: Path, repeats: int) -> Outcome:
    """Ask a server with a shadow and one without, in turn, 500 and 1,500 times a second, whatever is answered."""
    from shadow import shadowed  # noqa: PLC0415

    return shadowed(served_tree(folder), folder / "shadow", repeats)


def score(folder: Path, repeats: int) -> Outcome:
    """`tandem score` over 2.8 million requests, against engines alone and MLflow's pyfunc, which get ready inputs.

    Ours reads requests, holds them against the contract, looks up 14 views, computes 13 request features, scores and
    writes; work is what the whole flow takes, its loading of bundle and views with it, without imports.
    """
    tree = served_tree(folder)
    measured(script("score_work", "prepare", folder, 10), tree)
    names: dict[str, tuple[str, ...]] = {
        "ours, by moment": ("ours",),
        "ours, by moment, ONNX Runtime": ("ours", "--engine", "onnx"),
        "ours, by the newest tick": ("ours", "--table", "now"),
        "XGBoost alone": ("xgboost",),
        "ONNX Runtime alone": ("onnx",),
        "mlflow pyfunc": ("mlflow",),
    }
    cases = {name: Case([script("score_work", what, folder, *words)], tree) for name, (what, *words) in names.items()}
    out = Outcome(repeated(cases, repeats))
    alone = fastest({name: out.work(name) for name in ("XGBoost alone", "ONNX Runtime alone")})
    for name in ("ours, by moment", "ours, by the newest tick"):
        out.figures.append(Figure(f"{name}, against {alone}", ratio(out.work(name), out.work(alone)), "x", 1.25))
    exact = "ours, by moment, ONNX Runtime"
    out.figures += [
        Figure(f"{exact}, against it alone", ratio(out.work(exact), out.work("ONNX Runtime alone")), "x", 1.25),
        Figure(
            "ours, by moment, against mlflow pyfunc",
            ratio(out.work("ours, by moment"), out.work("mlflow pyfunc")),
            "x",
            0.25,
        ),
    ]
    return out


BENCHMARKS: dict[str, Callable[[Path, int], Outcome]] = {
    "ingest": ingest,
    "features": features,
    "graph": graph,
    "imports": imports,
    "first_prediction": first_prediction,
    "score": score,
    "scale": scale,
    "serve": serve,
    "overload": overload,
    "shadow": shadow,
}
