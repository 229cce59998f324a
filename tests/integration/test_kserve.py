"""KServe's own client, unchanged, in an environment of its own: it and Prefect want other versions of fastapi."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from commands import serving
from conftest import ROOT, Workspace

LOCK = Path(__file__).with_name("kserve.lock")
ASK = """
import asyncio, json, sys
import numpy as np
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig

address, columns = sys.argv[1], json.loads(sys.argv[2])

def given(name, values, binary):
    kind = {"weight_g": "INT64", "express": "BOOL"}.get(name, "BYTES")
    made = InferInput(name, [len(values)], kind)
    made.set_data_from_numpy(np.array(values, object if kind == "BYTES" else None), binary_data=binary)
    return made

async def ask():
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    ready = await client.is_server_ready(address), await client.is_server_live(address)
    ready += (await client.is_model_ready(address, "parcels"),)
    scores = []
    for binary in (True, False):
        inputs = [given(name, values, binary) for name, values in columns.items()]
        told = await client.infer(address, InferRequest("parcels", inputs), model_name="parcels")
        scores.append(told.outputs[0].as_numpy().tolist())
    print(json.dumps([ready, scores, told.outputs[0].name]))

asyncio.run(ask())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has KServe."""
    folder = tmp_path_factory.mktemp("kserve")
    uv, pip = [str(Path(sys.executable).with_name(name)) for name in ("uv", "pip")]
    found = subprocess.run([pip, "config", "get", "global.index-url"], capture_output=True, text=True, check=False)
    index = {"UV_DEFAULT_INDEX": found.stdout.strip()} if found.stdout.strip() else {}
    made, env = folder / "bin" / "python", {**index, **os.environ}
    for words in (["venv", "--python", sys.executable, str(folder)], ["pip", "sync", "--python", str(made), str(LOCK)]):
        subprocess.run([uv, *words, "--quiet"], check=True, env=env)
    return made


def test_kserves_client_scores_the_same(built: Workspace, python: Path, tmp_path: Path) -> None:
    example = json.loads((ROOT / "tests" / "problems" / "parcels" / "example.json").read_text())
    rows = [example, example | {"courier": "c05"}, example | {"express": False, "weight_g": 100}]
    columns = {name: [row[name] for row in rows] for name in example}
    with serving(built.root) as address:
        words = [str(python), "-c", ASK, address, json.dumps(columns)]
        told = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert told.returncode == 0, told.stderr
        known = httpx.post(f"{address}/v1/predict", json={"instances": rows}).json()["predictions"]
    scores = [each["score"] for each in known]
    assert json.loads(told.stdout.splitlines()[-1]) == [[True, True, True], [scores, scores], "score"]
