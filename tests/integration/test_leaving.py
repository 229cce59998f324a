"""A worker that is told to leave: answers go on for a while, nobody is cut off, and then it is gone."""

import signal
import subprocess
import time
from collections import Counter
from http.client import HTTPConnection
from threading import Event, Thread

import httpx
import pytest
from answering import served
from conftest import Workspace
from workers import worker

from tandem.problem import load_problem

EXAMPLE = load_problem("parcels").example()


def stopped(process: "subprocess.Popen[str]", sent: signal.Signals) -> tuple[int, str]:
    process.send_signal(sent)
    assert process.stderr is not None
    return process.wait(), process.stderr.read()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(built: Workspace, sent: signal.Signals) -> None:
    with served(built.root, beside={"TANDEM_DRAIN_SECONDS": "0"}) as (address, process, _):
        assert httpx.get(f"{address}/livez").status_code == 200
        code, said = stopped(process, sent)
    assert code == 0
    assert "Traceback" not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/livez")


def test_told_to_stop_it_answers_on_for_a_while_and_told_again_it_stops(built: Workspace) -> None:
    with (
        served(built.root, beside={"TANDEM_DRAIN_SECONDS": "600"}) as (address, process, _),
        httpx.Client(base_url=address) as client,
    ):
        process.send_signal(signal.SIGTERM)
        while (ready := client.get("/readyz")).status_code == 200:
            pass
        told = client.post("/v1/predict", json={"instances": [EXAMPLE]})
        assert (ready.status_code, told.status_code, told.headers["connection"]) == (503, 200, "close")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0


def test_who_comes_while_a_worker_leaves_is_answered_by_it_or_by_another(built: Workspace) -> None:
    over, statuses, failed = Event(), Counter[int](), list[str]()

    def ask(port: int) -> None:
        while not over.is_set():
            connection = HTTPConnection("127.0.0.1", port, timeout=10)  # each time another
            try:
                connection.request("GET", "/livez")
                statuses[connection.getresponse().status] += 1
            except OSError as exc:
                failed.append(repr(exc))
            finally:
                connection.close()

    words = ["--bundle", str(built.data / "bundle"), "--port"]
    with worker(built.root, {"TANDEM_DRAIN_SECONDS": "0.3"}) as (address, leaving):
        port = int(address.rpartition(":")[2])
        with worker(built.root, words=[*words, str(port)]):
            clients = [Thread(target=ask, args=(port,)) for _ in range(4)]
            for client in clients:
                client.start()
            leaving.terminate()
            leaving.wait()
            over.set()
            for client in clients:
                client.join()
    assert failed == []
    assert statuses.keys() == {200}


def test_who_was_let_in_last_has_time_to_ask(built: Workspace) -> None:
    with worker(built.root) as (address, leaving):
        connection = HTTPConnection("127.0.0.1", int(address.rpartition(":")[2]), timeout=10)
        connection.connect()
        httpx.get(f"{address}/livez")  # it was let in, too
        leaving.terminate()
        time.sleep(1)
        connection.request("GET", "/livez")
        told = connection.getresponse()
        assert (told.status, told.headers["connection"]) == (200, "close")
