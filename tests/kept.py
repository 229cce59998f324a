"""What a worker keeps: its memory, once each kind of thing was asked that it can be asked, and the most of each."""

import time
from typing import Any

import httpx
import psutil
from whole import Requests

GROWTH = 1.05
"""Of the memory that a worker holds by then, at most: what is loaded for the first who asks, as Arrow is, is no leak."""
MOST, EXPLAINED = 10_000, 1_000
"""Instances of one request, and of one that is explained."""
PATIENCE = 60


def worker_of(server: int) -> int:
    """Find the one process that answers among those of `tandem serve`."""
    (worker,) = (each for each in psutil.Process(server).children() if "tandem.serving" in each.cmdline())
    return worker.pid


class Kept:
    """What a worker holds, beside what it held when all had been asked once."""

    def __init__(self, address: str, worker: int) -> None:
        """Ask for all, and look."""
        ask_the_most(address)
        self._process = psutil.Process(worker)
        self._before = self._held()

    def is_too_much(self) -> bool:
        """Say whether it has grown."""
        return self._held() > self._before * GROWTH

    def __str__(self) -> str:
        """Tell both."""
        return f"memory {self._before / 2**20:.1f} MiB, then {self._held() / 2**20:.1f} MiB"

    def _held(self) -> int:
        return self._process.memory_info().rss


def ask_the_most(address: str) -> None:
    """Ask once for all there is: of one instance, and of as many as a request may have."""
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        for path, methods in client.get("/openapi.json").json()["paths"].items():
            if "get" in methods:
                client.get(path)
        for rows in (1, MOST, MOST):  # as the second time takes some more still
            made = Requests(address, rows)
            told = [
                client.post(path, content=body, headers=made.headers(kind, body)) for path, kind, body in made.bodies
            ]
            assert [each.status_code for each in told] == [200] * len(told)
            labels = [{"id": each["id"], "label": True} for each in told[0].json()["predictions"]]
            assert client.post("/v1/feedback", json={"labels": labels}).status_code == 200
            assert client.get(f"/v1/predictions/{labels[0]['id']}").status_code == 200
            assert client.post("/v1/predict", json={"instances": [{}] * rows}).status_code == 422
        _explain(client, made.instances[:EXPLAINED])


def _explain(client: httpx.Client, instances: list[dict[str, Any]]) -> None:
    """Ask why, as soon as the platform's process can say."""
    deadline = time.monotonic() + PATIENCE
    while (told := client.post("/v1/explain", json={"instances": instances})).status_code == 503:
        assert time.monotonic() < deadline, told.text
        time.sleep(0.2)
    assert told.status_code == 200, told.text
