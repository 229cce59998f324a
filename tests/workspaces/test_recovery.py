"""Whatever ends is back by itself; replicas are replaced under load without a failed request; nothing drifts.

Settings: TANDEM_REPLACEMENTS says how often replicas are replaced (2), TANDEM_DOWN_SECONDS how long a server is down (20),
TANDEM_ENGINE_RESTART what restarts the engine, as `systemctl restart docker`; without, it is not restarted.
"""

import asyncio
import os
import shlex
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import httpx
import pytest
from stood import Stood, until

RATE = 200
SERVICES = ("alertmanager", "gateway", "machine", "mlflow", "platform", "postgres", "prefect", "prometheus", "worker")
UNNEEDED = (("postgres", "mlflow", "prefect"), ("platform", "worker"))
"""What predictions do without: those that hold, while those that ask them go on; and the other way round."""
SERVING = "--set=serving={{replicas={replicas},any_moment=true,memory_mib={memory}}}"
REPLACEMENTS = int(os.environ.get("TANDEM_REPLACEMENTS", "2"))
DOWN = float(os.environ.get("TANDEM_DOWN_SECONDS", "20"))
RESTART = "TANDEM_ENGINE_RESTART"


@dataclass
class Load:
    """Requests at a steady rate, whatever becomes of them."""

    stood: Stood
    rate: int = RATE
    failed: list[str] = field(default_factory=list)
    answered: int = 0
    at_once: int = 0

    async def run(self, meanwhile: Callable[[], object], after: float = 5) -> None:
        """Ask until something is done, and some seconds more."""
        trust = ssl.create_default_context(cafile=str(self.stood.place.authority))
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        headers = {"authorization": f"Bearer {self.stood.place.key.read_text()}"}
        doing = asyncio.ensure_future(asyncio.to_thread(meanwhile))
        async with httpx.AsyncClient(
            base_url=self.stood.address, verify=trust, limits=limits, headers=headers
        ) as client:
            tasks, start, end = set[asyncio.Task[None]](), time.monotonic(), None
            while end is None or time.monotonic() < end:
                tasks.add(asyncio.create_task(self._ask(client)))
                if end is None and doing.done():
                    end = time.monotonic() + after
                await asyncio.sleep(max(0, start + len(tasks) / self.rate - time.monotonic()))
            await asyncio.gather(*tasks)
        await doing

    async def _ask(self, client: httpx.AsyncClient) -> None:
        self.at_once += 1
        since = time.monotonic()
        try:
            asked = await client.post("/v1/predict", json=self.stood.example, timeout=30)
        except httpx.HTTPError as exc:
            self._fail(since, repr(exc))
            return
        finally:
            self.at_once -= 1
        if asked.status_code == 200:
            self.answered += 1
        else:
            self._fail(since, f"{asked.status_code} {asked.text[:200]}")

    def _fail(self, since: float, why: str) -> None:
        now = datetime.now().isoformat()  # noqa: DTZ005 - as logs are read beside it
        self.failed.append(f"{now} after {time.monotonic() - since:.2f} s: {why}")


def under_load(stood: Stood, meanwhile: Callable[[], object], rate: int = RATE) -> Load:
    until(stood.answers, "it answers")
    load = Load(stood, rate)
    asyncio.run(load.run(meanwhile))
    return load


def applied(stood: Stood, *words: str) -> None:
    done = stood.command("up", *words)
    assert done.returncode == 0, done.stdout[-3000:]


def is_well(stood: Stood, service: str) -> bool:
    found = stood.containers().get(service)
    return bool(found and found.attrs["State"].get("Health", {}).get("Status") == "healthy")


def are_well(stood: Stood, services: Iterable[str]) -> bool:
    return all(is_well(stood, service) for service in services)


def kill(stood: Stood, service: str) -> None:
    os.kill(stood.containers()[service].attrs["State"]["Pid"], signal.SIGKILL)


@pytest.fixture
def two(dev: Stood) -> Iterator[Stood]:
    """Dev with two replicas, for a while."""
    applied(dev, SERVING.format(replicas=2, memory=384))
    yield dev
    applied(dev)


@pytest.mark.parametrize("replacement", range(REPLACEMENTS))
def test_replicas_are_replaced_without_a_failed_request(replacement: int, dev: Stood) -> None:
    words = [] if replacement % 2 else [SERVING.format(replicas=1, memory=400)]
    before = set(dev.containers())
    load = under_load(dev, partial(applied, dev, *words))
    assert set(dev.containers()) != before
    assert load.failed == []
    assert load.answered > 1000


def test_a_replacement_that_was_broken_off_is_taken_back(dev: Stood) -> None:
    before = set(dev.containers())

    def broken_off_and_back() -> None:
        with dev.begin("up", SERVING.format(replicas=1, memory=416)) as begun:
            until(lambda: set(dev.containers()) - before, "the new replica is there", 60)
            begun.send_signal(signal.SIGINT)
            said, _ = begun.communicate()
        assert begun.returncode == 128 + signal.SIGINT, said[-3000:]
        applied(dev)

    load = under_load(dev, broken_off_and_back)
    assert load.failed == []
    assert len(dev.containers()) == len(before)
    assert dev.command("plan").returncode == 0


def test_a_replica_that_is_killed_takes_what_it_was_answering_along_and_no_more(two: Stood) -> None:
    replicas = [name for name in two.containers() if name.startswith("serving")]
    assert len(replicas) == 2
    load, lost = Load(two), list[int]()

    def killed() -> None:
        time.sleep(3)
        lost.append(load.at_once)
        kill(two, replicas[0])
        time.sleep(10)

    until(two.answers, "it answers")
    asyncio.run(load.run(killed))
    assert len(load.failed) <= max(1, *lost), load.failed
    assert load.answered > 1000
    until(lambda: is_well(two, replicas[0]), "the replica is back", 120)


@pytest.mark.parametrize("services", UNNEEDED, ids="-".join)
def test_predictions_go_on_while_servers_are_down(services: tuple[str, ...], dev: Stood) -> None:
    containers = [dev.containers()[service] for service in services]

    def away() -> None:
        for each in containers:
            each.stop()
        try:
            time.sleep(DOWN)
        finally:
            for each in containers:
                each.start()

    load = under_load(dev, away, rate=50)
    assert load.failed == []
    assert load.answered > 50 * DOWN / 2
    until(lambda: are_well(dev, services), f"{services} are back", 120)


def test_what_is_killed_is_back_by_itself(dev: Stood) -> None:
    before = {service: dev.containers()[service].attrs["State"]["Pid"] for service in SERVICES}
    for service in SERVICES:
        kill(dev, service)

    def are_back() -> bool:
        now = dev.containers()
        there = all(service in now and now[service].attrs["State"]["Pid"] != before[service] for service in SERVICES)
        return there and are_well(dev, SERVICES)

    until(are_back, "all are back", 180)


def test_the_gateway_is_back_in_three_seconds(dev: Stood) -> None:
    until(dev.answers, "it answers")
    time.sleep(10)  # the engine waits the longer the sooner something ends again
    kill(dev, "gateway")
    began = time.monotonic()
    with dev.client as client:
        while True:
            try:
                if client.get("/livez").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
    assert time.monotonic() - began < 3


@pytest.mark.skipif(RESTART not in os.environ, reason=f"{RESTART} says nothing that restarts the engine")
def test_after_the_engine_was_restarted_all_is_back(both: Mapping[str, Stood]) -> None:
    before = {each: set(each.containers()) for each in both.values()}
    subprocess.run(shlex.split(os.environ[RESTART]), check=True)
    for stood, containers in before.items():
        until(partial(are_well, stood, containers), "all containers are back", 300)
        until(stood.answers, "it answers", 60)


def test_a_day_of_schedules_changes_nothing_that_was_applied(dev: Stood) -> None:
    tomorrow = dev.now() + timedelta(days=1)
    dev.run("platform", "tandem", "clock", "speed", "1440")
    try:
        until(lambda: dev.now() > tomorrow, "a day is over", 180)
    finally:
        dev.run("platform", "tandem", "clock", "speed", "1")
    assert dev.answers()


def test_the_plan_is_empty_after_all_that(each: Stood) -> None:
    done = each.command("plan")
    assert done.returncode == 0, done.stdout
    assert "No changes" in done.stdout
