"""Each panel of each dashboard finds what it asks for in a workspace that was asked something."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT
from stood import Stood, until

from tasks.containers import engine

STAND_IN = """
import http.server, json
class Told(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({name.lower(): value for name, value in self.headers.items()}).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
http.server.HTTPServer(("", 3000), Told).serve_forever()
"""
"""Tells what it was told, where Grafana would stand."""
BOARDS = sorted((ROOT / "infra/grafana/boards").glob("*.json"))
TARGETS = [
    pytest.param(target["expr"], id=f"{path.stem}: {panel['title']} {target['refId']}")
    for path in BOARDS
    for panel in json.loads(Path(path).read_text())["panels"]
    for target in panel["targets"]
]


@cache
def asked(stood: Stood) -> None:
    """Ask what makes each count go up, and again once it was seen, as a rate needs two."""
    odd = {**stood.example["instances"][0], "dest": "XXX", "distance": 12_000, "tailnum": None}
    with stood.client as client:
        until(lambda: client.post("/v1/predict", json=stood.example).status_code == 200, "it answers")

        def all_of_it() -> bool:
            found = client.post("/v1/predict", json={"instances": [*stood.example["instances"], odd]})
            client.post("/v1/predict", json=stood.example, headers={"authorization": ""})
            seen = "sum(rate(tandem_rows_total[5m])) > 0 and sum(rate(tandem_refused_total[5m])) > 0"
            assert found.status_code == 200, found.text
            return bool(result(stood, seen))

        until(all_of_it, "rates are known", 120)


def result(stood: Stood, query: str) -> list[object]:
    with stood.client as client:
        given = {"query": query}
        said = client.get("/prometheus/api/v1/query", params=given, auth=stood.person("viewer"))
    found: list[object] = said.json()["data"]["result"]
    return found


@pytest.mark.parametrize("query", TARGETS)
def test_a_panel_finds_data(query: str, dev: Stood) -> None:
    asked(dev)
    until(lambda: result(dev, query), query, 90)


@pytest.fixture(scope="module")
def stand_in(dev: Stood) -> Iterator[Stood]:
    image = dev.containers()["worker"].image.id
    started = engine().containers.create(image, ["python3", "-c", STAND_IN], name="grafana")
    back = engine().networks.get(f"tandem-{dev.name}-back")
    back.connect(started, aliases=["grafana"])
    started.start()
    try:
        yield dev
    finally:
        started.remove(force=True)


@pytest.mark.parametrize(("role", "as_what"), [("viewer", "Viewer"), ("developer", "Editor"), ("admin", "Admin")])
def test_grafana_is_told_by_the_gateway_who_somebody_is(role: str, as_what: str, stand_in: Stood) -> None:
    forged = {"x-webauth-user": "root", "x-webauth-role": "Admin"}
    with stand_in.client as client:
        until(lambda: client.get("/grafana/", auth=stand_in.person(role)).status_code == 200, "it is there", 20)
        told = client.get("/grafana/", auth=stand_in.person(role), headers=forged).json()
    assert (told["x-webauth-user"], told["x-webauth-role"]) == (role, as_what)
    assert "authorization" not in told


def test_grafana_is_for_people_who_may(stand_in: Stood) -> None:
    with stand_in.client as client:
        assert client.get("/grafana/").status_code == 401
        assert client.post("/grafana/api/dashboards/db", auth=stand_in.person("viewer")).status_code == 403
        assert client.post("/grafana/api/ds/query", auth=stand_in.person("viewer")).status_code == 200
        assert client.delete("/grafana/api/folders/x", auth=stand_in.person("developer")).status_code == 403
