"""A worker as a process of its own, without what `tandem serve` prepares: begun in half a second, and killed at will."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import sleep

import httpx
from commands import NOTHING, environment

from tandem.history import History
from tandem.ledger import is_living
from tandem.params import Params
from tandem.serving.records import find, recover, segments

CODE = """
import os, resource
from tandem.serving.__main__ import main
if limit := os.environ.get("LIMIT"):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
main()
"""


@contextmanager
def worker(
    root: Path, beside: Mapping[str, str] = NOTHING, words: Sequence[str] | None = None
) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Serve a folder's bundle, or what its traffic says, and give the address and the process; it is killed in the end."""
    params = Params.load(root / "params.yaml")
    chosen = ["--bundle", f"data/{params.problem}/bundle"] if words is None else words
    always = ["--port", "0", "--standing", params.as_of.isoformat()]
    own, pipe, beside = (
        [sys.executable, "-c", CODE, *always, *chosen],
        subprocess.PIPE,
        {"TANDEM_DRAIN_SECONDS": "0", **beside},
    )
    with subprocess.Popen(own, cwd=root, env=environment(root, beside), stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process
        finally:
            process.kill()


@dataclass
class Acknowledged:
    """What clients were told."""

    ids: list[str] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    """Statuses of what was not answered."""


def ask(address: str, instance: dict[str, object], told: Acknowledged) -> None:
    """Ask again and again, now for one and now for several, until the server is gone."""
    bodies = [json.dumps({"instances": [instance] * count}) for count in (1, 1, 1, 7)]
    with httpx.Client(base_url=address) as client, suppress(httpx.TransportError):
        while True:
            for body in bodies:
                got = client.post("/v1/predict", content=body)
                if got.status_code == httpx.codes.OK:
                    told.ids += [each["id"] for each in got.json()["predictions"]]
                else:
                    told.others.append(got.status_code)


def kill_under_load(
    root: Path, instance: dict[str, object], times: int, beside: Mapping[str, str] = NOTHING
) -> Acknowledged:
    """Serve, ask by four clients, and kill with SIGKILL while they are answered, again and again."""
    told, chance = Acknowledged(), Random(times)  # noqa: S311 - no secret
    for _ in range(times):
        enough = len(told.ids) + chance.randint(1, 200)
        with worker(root, beside) as (address, process):
            clients = [threading.Thread(target=ask, args=(address, instance, told)) for _ in range(4)]
            for client in clients:
                client.start()
            while len(told.ids) < enough and process.poll() is None:
                sleep(0.001)
            os.kill(process.pid, signal.SIGKILL)
            for client in clients:
                client.join()
    return told


def check_remembered(folder: Path, told: Acknowledged) -> None:
    """Check that all that was acknowledged is there, once, and that nothing is torn or damaged."""
    assert told.others == []
    assert not recover(folder), "whoever begins next has cut off what was torn"
    assert not any(map(is_living, segments(folder)))
    with History.open(folder) as history:
        there = [name for (name,) in history.ask("select id from predictions").rows]
        assert history.damaged == []
    assert len(there) == len(set(there))
    assert len(told.ids) == len(set(told.ids))
    assert set(told.ids) <= set(there)
    assert all(find(folder, name) for name in told.ids[::50])
