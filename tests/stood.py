"""Two workspaces, stood up for real on this machine's Docker engine, and taken down in the end.

They are what `make up` makes, but for params.fast.yaml and a worker that is woken each minute. Where no engine answers
or no images were built, all of this is skipped. Settings: TANDEM_WORKSPACES_KEEP=1 leaves them standing and finds them
again, for who works on these tests.
"""

import json
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import httpx
from conftest import ROOT

from tandem.workspace import Place
from tasks.containers import NAMED, engine

FAST = {
    "platform": '{params="params.fast.yaml"}',
    "schedule": '{daily="*/2 * * * *",ticks="*/5 * * * *"}',
    "alerts": '{late_minutes=5,gather="1s",mail={to=["ops@example.org"],from="tandem@example.org",smtp="postbox:2525",user="tandem",tls=false}}',
}
KEEP = "TANDEM_WORKSPACES_KEEP"
PATIENCE = 600
PORTS = {"dev": 8443, "prod": 9443, "rehearsal": 10443}


@dataclass(frozen=True)
class Stood:
    """A workspace that stands."""

    name: str
    place: Place

    def begin(self, verb: str, *words: str, sets: bool = True) -> subprocess.Popen[str]:
        """Begin with `tandem workspace VERB NAME`, as make does."""
        given = [f"--set={name}={value}" for name, value in FAST.items()] if sets else []
        own = [sys.executable, "-m", "flows.cli", "workspace", verb, self.name, *given, *words]
        beside = {"TANDEM_VAR": str(self.place.var)}
        pipe = subprocess.PIPE
        return subprocess.Popen(own, cwd=ROOT, env=os.environ | beside, stdout=pipe, stderr=pipe, text=True)

    def command(self, verb: str, *words: str, sets: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        with self.begin(verb, *words, sets=sets) as begun:
            said = begun.communicate()
            return subprocess.CompletedProcess(begun.args, begun.returncode, *said)

    def containers(self) -> dict[str, Any]:
        """Give the containers that run, by their names without the workspace's."""
        found = engine().containers.list(filters={"label": f"{NAMED}={self.name}"})
        return {each.name.removeprefix(f"tandem-{self.name}-"): each for each in found}

    def run(self, service: str, *words: str, ok: bool = True) -> str:
        """Run a command in a container, and give what it says."""
        code, said = self.containers()[service].exec_run(list(words))
        assert not ok or code == 0, said.decode()
        told: str = said.decode()
        return told

    @property
    def address(self) -> str:
        return f"https://localhost:{PORTS[self.name]}"

    @property
    def client(self) -> httpx.Client:
        """A client that trusts the workspace's own authority, and shows its owner's key."""
        trust = ssl.create_default_context(cafile=str(self.place.authority))
        return httpx.Client(
            base_url=self.address,
            verify=trust,
            headers={"authorization": f"Bearer {self.place.key.read_text().strip()}"},
        )

    def models(self) -> str:
        """List what is registered."""
        return self.run("platform", "tandem", "models")

    def now(self) -> datetime:
        """Say what time it is in its world."""
        return datetime.fromisoformat(json.loads(self.run("platform", "tandem", "clock", "show", "--json"))["now"])

    def has_published(self, bundles: int = 1) -> bool:
        """Say whether so many bundles are registered; MLflow is asked first, as `tandem models` takes seconds to start."""
        with self.client as client:
            search = "/mlflow/ajax-api/2.0/mlflow/model-versions/search"
            found = client.get(search, auth=self.person("viewer")).raise_for_status().json()
        there = len(found.get("model_versions", [])) >= bundles
        return there and len(self.models().splitlines()) > bundles

    def answers(self) -> bool:
        """Say whether a request is answered."""
        with self.client as client:
            return client.post("/v1/predict", json=self.example, timeout=5).status_code == 200

    def person(self, role: str) -> tuple[str, str]:
        return role, (self.place.people / f"{role}.{role}").read_text()

    @cached_property
    def example(self) -> dict[str, Any]:
        """A request that is as the contract says."""
        return {"instances": [json.loads((ROOT / "problems/flights/example.json").read_text())]}


def docker(*words: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["/usr/bin/env", "docker", *words], input=given, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def until(true: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for what comes."""
    deadline = time.monotonic() + patience
    while True:
        with suppress(httpx.TransportError):
            if true():
                return
        assert time.monotonic() < deadline, f"in {patience} s not: {what}"
        time.sleep(1)
