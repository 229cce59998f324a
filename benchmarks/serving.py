"""The server against its peers: the same model, one worker each, asked in turn in one go.

Ours reads a request by its contract, looks up its views, computes its features, scores, and records the answer; the
peers are given ready inputs and score them. The no-op is a bare ASGI application on the same server as ours.
"""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx
import uvloop
from answer import resident
from load import ask, question
from measure import ENVIRONMENT, Figure, Outcome

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PEERS = HERE / "peers"
BUILD = ROOT / "build" / "peers"
SECONDS, ROWS, CONNECTIONS = 3.0, 100, 8
PATIENCE = 120.0
PINS = {
    "MLServer": (
        ("mlserver==1.7.1", "xgboost-cpu==3.2.0", "scikit-learn"),
        ("--no-deps", "mlserver-xgboost==1.7.1"),  # which would bring XGBoost for graphics cards
    ),
    "BentoML": (("bentoml==1.4.39", "xgboost-cpu==3.2.0", "numpy"),),
}
RATE = "the no-op's rate, of ours, one row"
UVICORN = ("--loop", "uvloop", "--http", "httptools", "--log-level", "error", "--no-access-log")


@dataclass(frozen=True)
class Server:
    """One that is asked."""

    name: str
    command: tuple[str, ...]
    port: int
    path: str
    one: bytes
    many: bytes
    environment: Mapping[str, str]

    @property
    def url(self) -> str:
        """Where it is asked."""
        return f"http://127.0.0.1:{self.port}{self.path}"


def environment_of(name: str) -> Path:
    """Give a peer's own environment; made once, as its dependencies are not ours."""
    folder = BUILD / name.lower()
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        for packages in PINS[name]:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python.parent


@contextmanager
def running(server: Server, folder: Path) -> Iterator[int]:
    """Run a server until it answers, and end it after; give its process.

    Raises:
        RuntimeError: it does not answer.
        OSError: another one has its port.

    """
    socket.create_server(("127.0.0.1", server.port)).close()  # nobody else's server may be asked in its place
    log = folder / f"{server.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            server.command, cwd=folder, env=server.environment, stdout=out, stderr=out, start_new_session=True
        )
    try:
        until = monotonic() + PATIENCE
        while not answers(server):
            if process.poll() is not None or monotonic() > until:
                msg = f"{server.name} does not answer:\n{log.read_text()[-3000:]}"
                raise RuntimeError(msg)
            sleep(0.2)
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def answers(server: Server) -> bool:
    """Ask once."""
    try:
        return (
            httpx.post(server.url, content=server.one, headers={"content-type": "application/json"}).status_code == 200
        )
    except httpx.HTTPError:
        return False


def load(server: Server, body: bytes, connections: int) -> dict[str, Any]:
    """Ask a server for some seconds.

    Raises:
        RuntimeError: it gave another answer than 200.

    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        said = runner.run(ask(server.url, question(server.url, body), connections, SECONDS))
    if set(said["statuses"]) != {200} or said["lost"]:
        msg = f"{server.name}: {said}"
        raise RuntimeError(msg)
    return said


def bodies(bundle: Path) -> dict[str, tuple[bytes, bytes]]:
    """Write one row and many as each peer takes them; where an input has no value the peers get 0."""
    names = [each["name"] for each in json.loads((bundle / "features.json").read_text())["inputs"]]
    inputs = [
        0.0 if value is None else value for value in json.loads((bundle / "golden.json").read_text())[0]["inputs"]
    ]

    def each(rows: int) -> dict[str, Any]:
        many = [inputs] * rows
        return {
            "FastAPI": [dict(zip(names, row, strict=True)) for row in many],
            "BentoML": {"rows": many},
            "MLServer": {
                "inputs": [{"name": "x", "shape": [rows, len(names)], "datatype": "FP32", "data": inputs * rows}]
            },
            "mlflow": {"dataframe_split": {"columns": names, "data": many}},
        }

    one, hundred = each(1), each(ROWS)
    return {name: (json.dumps(one[name]).encode(), json.dumps(hundred[name]).encode()) for name in one}


def peer_models(bundle: Path, folder: Path) -> Path:
    """Lay out the bundle's booster as each peer wants it."""
    model = folder / "model"
    model.mkdir()
    booster = json.loads((bundle / "model.json").read_text())
    names = booster["learner"]["feature_names"]
    booster["learner"]["feature_names"] = booster["learner"]["feature_types"] = []
    (model / "model.json").write_text(json.dumps(booster))
    (model / "names.json").write_text(json.dumps(names))
    settings = {
        "name": "peer",
        "implementation": "mlserver_xgboost.XGBoostModel",
        "parameters": {"uri": "./model.json"},
    }
    (model / "model-settings.json").write_text(json.dumps(settings))
    (model / "settings.json").write_text(json.dumps({"http_port": 18104, "grpc_port": 18114, "metrics_port": 18124,
        "parallel_workers": 0, "debug": False}))  # fmt: skip
    saved = (
        "import sys, mlflow.xgboost, xgboost\n"
        "booster = xgboost.Booster()\n"
        "booster.load_model(sys.argv[1])\n"
        "mlflow.xgboost.save_model(booster, sys.argv[2], pip_requirements=[])\n"
    )
    subprocess.run(
        [sys.executable, "-c", saved, model / "model.json", folder / "mlflow"],
        check=True, env=ENVIRONMENT, cwd=folder, capture_output=True,
    )  # fmt: skip
    return model


def example(tree: Path) -> dict[str, Any]:
    """Give a request of ours."""
    found: dict[str, Any] = json.loads((tree / "problems" / "flights" / "example.json").read_text())
    return found


def ours(tree: Path, rows: int = ROWS) -> Server:
    """Serve a tree's bundle."""
    words = ("--port", "18101", "--bundle", str(tree / "data" / "flights" / "bundle"), "--standing", "2013-11-01")
    own = ENVIRONMENT | {"PYTHONPATH": str(tree), "TANDEM_DATA": str(tree / "data"), "TANDEM_VAR": str(tree / "var")}
    one, many = (json.dumps({"instances": [example(tree)] * count}).encode() for count in (1, rows))
    return Server("ours", (sys.executable, "-m", "tandem.serving", *words), 18101, "/v1/predict", one, many, own)


def noop(tree: Path) -> Server:
    """Serve nothing, on the same server."""
    words = ("-m", "uvicorn", "noop:app", "--port", "18102", *UVICORN, "--no-server-header", "--no-date-header")
    own, plain = ours(tree), ENVIRONMENT | {"PYTHONPATH": str(PEERS)}
    return Server("no-op", (sys.executable, *words), 18102, own.path, own.one, own.many, plain)


def servers(tree: Path, folder: Path) -> list[Server]:
    """Name all that are asked, ours first and the no-op next."""
    bundle = tree / "data" / "flights" / "bundle"
    body, model, own = bodies(bundle), peer_models(bundle, folder), ours(tree)
    plain = ENVIRONMENT | {"PYTHONPATH": str(PEERS), "PEER_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    python = sys.executable
    bento, ml = environment_of("BentoML"), environment_of("MLServer")
    return [
        own,
        noop(tree),
        Server("FastAPI", (python, "-m", "uvicorn", "fastapi_peer:app", "--port", "18103", *UVICORN),
            18103, "/predict", *body["FastAPI"], plain),
        Server("MLServer", (str(ml / "mlserver"), "start", str(model)), 18104, "/v2/models/peer/infer",
            *body["MLServer"], plain),
        Server("BentoML", (str(bento / "bentoml"), "serve", "bento_peer:Peer", "--port", "18105",
            "--working-dir", str(PEERS)), 18105, "/predict", *body["BentoML"], plain),
        Server("mlflow", (python, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--workers", "1",
            "-m", str(folder / "mlflow"), "-p", "18106"), 18106, "/invocations", *body["mlflow"], plain),
    ]  # fmt: skip


def model_alone(tree: Path) -> float:
    """Give the rows a second that the model alone scores, as ours runs it."""
    command = (sys.executable, HERE / "model_alone.py", tree / "data" / "flights" / "bundle", str(ROWS))
    done = subprocess.run(command, env=ENVIRONMENT | {"PYTHONPATH": str(tree)}, check=True, capture_output=True)
    return float(done.stdout)


def measured(all_of_them: list[Server], folder: Path, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Ask each in turn, again and again: rates and latencies by server."""
    found: dict[str, dict[str, list[float]]] = {server.name: {} for server in all_of_them}
    with ExitStack() as stack:
        processes = {server.name: stack.enter_context(running(server, folder)) for server in all_of_them}
        for _ in range(repeats):
            for server in all_of_them:
                eight, alone = load(server, server.one, CONNECTIONS), load(server, server.one, 1)
                values = {"rate": eight["rate"], "p99": eight["p99_us"], "p50, alone": alone["p50_us"]}
                values["rows"] = load(server, server.many, CONNECTIONS)["rate"] * ROWS
                for what, value in values.items():
                    found[server.name].setdefault(what, []).append(value)
        for name, process in processes.items():
            found[name]["memory"] = [resident(process)]
    return found


def serving(tree: Path, folder: Path, repeats: int) -> Outcome:
    """Ask each server in turn; `cases.serve` has the words."""
    folder.mkdir()
    asked = servers(tree, folder)
    found = measured(asked, folder, repeats)
    alone = [model_alone(tree) for _ in range(repeats)]

    def over(what: str, one: str, other: str) -> list[float]:
        return [a / b for a, b in zip(found[one][what], found[other][what], strict=True)]

    out = Outcome()
    out.figures = [
        Figure(RATE, over("rate", "no-op", "ours"), "x", 2.5),
        Figure("p50 of ours, of the no-op's, one connection", over("p50, alone", "ours", "no-op"), "x", 1.6),
        Figure("MLServer's rate, of ours, one row", over("rate", "MLServer", "ours"), "x", 1 / 15),
        Figure("BentoML's rate, of ours, one row", over("rate", "BentoML", "ours"), "x", 1 / 15),
        Figure("mlflow's rate, of ours, one row", over("rate", "mlflow", "ours"), "x", 1 / 60),
        Figure("FastAPI's rate, of ours, one row", over("rate", "FastAPI", "ours"), "x", 1 / 8),
        Figure("MLServer's rate, of ours, 100 rows", over("rows", "MLServer", "ours"), "x", 1 / 4),
        Figure("MLServer's rate, of our model's alone, 100 rows",
            [a / b for a, b in zip(found["MLServer"]["rows"], alone, strict=True)], "x", None),
    ]  # fmt: skip
    lines = ["| server | requests/s | p99, us | p50 alone, us | rows/s by 100 | memory, MiB |", "|---|" + "---:|" * 5]
    for name, values in found.items():
        shown = (statistics.median(values[what]) for what in ("rate", "p99", "p50, alone", "rows", "memory"))
        lines.append(f"| {name} | " + " | ".join(f"{value:,.0f}" for value in shown) + " |")
    out.notes = ["\n".join(lines)]
    return out
