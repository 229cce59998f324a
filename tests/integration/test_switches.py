"""Traffic, snapshots and keys change while clients ask: no request fails, and the last change is what answers."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any, Self

import httpx
import msgspec
import pytest
from conftest import Workspace
from published import another
from workers import worker

from flows.refresh import refresh
from tandem.bundle import Bundle
from tandem.problem import load_problem
from tandem.serving.traffic import TRAFFIC, Traffic

SWITCHES = int(os.environ.get("SWITCHES", "20"))
EXAMPLE = load_problem("parcels").example()


class Clients:
    """Ask again and again until told to stop."""

    def __init__(self, address: str, count: int) -> None:
        self.statuses: dict[int, int] = {}
        self.lost = 0
        self._stop, self._address = threading.Event(), address
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self) -> None:
        with httpx.Client(base_url=self._address) as client:
            while not self._stop.is_set():
                try:
                    status = client.post("/v1/predict", json={"instances": [EXAMPLE]}).status_code
                except httpx.TransportError:
                    self.lost += 1
                else:
                    self.statuses[status] = self.statuses.get(status, 0) + 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def bundle_of(client: httpx.Client) -> str:
    answer: dict[str, Any] = client.post("/v1/predict", json={"instances": [EXAMPLE]}).json()["predictions"][0]
    return str(answer["bundle"])


def until(client: httpx.Client, digest: str) -> None:
    """Ask until a bundle answers; a test that waits for ever is ended by whoever runs it."""
    while bundle_of(client) != digest:
        pass


@pytest.fixture
def two(rebuilt: Workspace, tmp_path: Path) -> tuple[Workspace, list[Bundle]]:
    refresh(rebuilt.params, rebuilt.settings)
    one = Bundle.open(rebuilt.data / "bundle")
    bundles = [one, another(one, tmp_path / "other", note="another")]
    for bundle in bundles:
        shutil.copytree(bundle.folder, rebuilt.settings.serving / "bundles" / bundle.digest)
    return rebuilt, bundles


def say(workspace: Workspace, generation: int, bundles: list[Bundle]) -> Bundle:
    champion, other = bundles[generation % 2], bundles[(generation + 1) % 2]
    roles = ({}, {"challenger": other.digest, "share": 0.5, "salt": "s"}, {"shadow": other.digest})[generation % 3]
    path = workspace.settings.serving / TRAFFIC
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(Traffic(champion.digest, generation, **roles)))
    temporary.rename(path)
    return champion


def test_no_request_fails_while_traffic_changes(two: tuple[Workspace, list[Bundle]]) -> None:
    workspace, bundles = two
    say(workspace, 0, bundles)
    with (
        worker(workspace.root, words=()) as (address, _),
        httpx.Client(base_url=address) as client,
        Clients(address, 4) as clients,
    ):
        for generation in range(1, SWITCHES + 1):
            champion = say(workspace, generation, bundles)
            if generation % 3 == 1:  # the challenger may be the one that answers
                while client.get("/v1/model").json()["traffic"]["generation"] != generation:
                    pass
            else:
                until(client, champion.digest)
    assert clients.lost == 0
    assert set(clients.statuses) == {200}


def test_a_damaged_state_changes_nothing_and_is_counted(two: tuple[Workspace, list[Bundle]]) -> None:
    workspace, bundles = two
    champion = say(workspace, 0, bundles)
    damaged = workspace.settings.serving / "bundles" / bundles[1].digest / "model.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with worker(workspace.root, words=()) as (address, _), httpx.Client(base_url=address) as client:
        say(workspace, 1, bundles)
        while "tandem_reload_failures_total 0" in client.get("/metrics").text:
            pass
        assert bundle_of(client) == champion.digest
