"""Dev and prod share nothing but images: what is one's cannot be reached, read or used from the other."""

import base64
import json
import re
import secrets
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from stood import Stood, until

TRY = """
for target in {targets}; do
    while [ "$(jobs -r | wc -l)" -ge 20 ]; do wait -n; done
    {{ timeout 1 bash -c "exec 3<>/dev/tcp/${{target%:*}}/${{target#*:}}" 2>/dev/null && echo "reached $target"; }} &
done
wait
"""
PORTS = (5432, 5000, 4200, 8080, 8443, 9090, 9093, 9100, 9180)


@pytest.fixture(params=[("dev", "prod"), ("prod", "dev")], ids=["from dev", "from prod"])
def pair(request: pytest.FixtureRequest) -> tuple[Stood, Stood]:
    mine, other = (request.getfixturevalue(name) for name in request.param)
    return mine, other


def addresses(stood: Stood) -> set[str]:
    every = [each.attrs["NetworkSettings"]["Networks"].values() for each in stood.containers().values()]
    return {network["IPAddress"] for networks in every for network in networks} - {""}


def gateways(stood: Stood) -> set[str]:
    """The host's own address in each network of a workspace."""
    every = [each.attrs["NetworkSettings"]["Networks"].values() for each in stood.containers().values()]
    return {network["Gateway"] for networks in every for network in networks} - {""}


def reached(stood: Stood, service: str, targets: list[str]) -> str:
    return stood.run(service, "bash", "-c", TRY.format(targets=" ".join(targets)), ok=False)


def test_what_one_can_reach_is_found_by_the_same_means(dev: Stood) -> None:
    assert "reached mlflow:5000" in reached(dev, "worker", ["mlflow:5000"])


def test_a_container_reaches_what_it_needs_and_nothing_else_of_its_own_workspace(dev: Stood) -> None:
    (serving,) = [name for name in dev.containers() if name.startswith("serving")]
    assert reached(dev, serving, ["postgres:5432", "mlflow:5000", "prefect:4200", "alertmanager:9093"]) == ""
    assert reached(dev, "worker", ["postgres:5432", "serving:8080"]) == ""


def test_no_address_or_name_of_the_other_is_reached(pair: tuple[Stood, Stood]) -> None:
    mine, other = pair
    names = [f"tandem-{other.name}-{each}:8080" for each in other.containers()]
    targets = [f"{host}:{port}" for host in addresses(other) for port in PORTS] + names
    with ThreadPoolExecutor() as side_by_side:
        services = list(mine.containers())
        found = dict(
            zip(services, side_by_side.map(lambda service: reached(mine, service, targets), services), strict=True)
        )
    assert found == dict.fromkeys(services, "")


def test_no_port_of_the_host_is_reached(pair: tuple[Stood, Stood]) -> None:
    mine, _ = pair
    ports = [8443, 9443]
    for service in mine.containers():
        targets = [f"{host}:{port}" for host in gateways(mine) for port in ports]
        assert reached(mine, service, targets) == "", service


def test_nothing_is_shared_but_images(dev: Stood, prod: Stood) -> None:
    def held(stood: Stood) -> set[str]:
        told = [each.attrs for each in stood.containers().values()]
        mounts = {mount.get("Name") or mount["Source"] for attrs in told for mount in attrs["Mounts"]}
        return mounts | {name for attrs in told for name in attrs["NetworkSettings"]["Networks"]}

    assert held(dev) & held(prod) == set()
    assert {each.image.id for each in dev.containers().values()} == {
        each.image.id for each in prod.containers().values()
    }


def test_credentials_of_one_are_nothing_to_the_other(pair: tuple[Stood, Stood]) -> None:
    mine, other = pair
    with other.client as client:
        assert client.get("/mlflow/", auth=other.person("admin")).status_code == 200
        assert client.get("/mlflow/", auth=mine.person("admin")).status_code == 401
        key = {"authorization": f"Bearer {mine.place.key.read_text()}"}
        assert client.get("/v1/model", headers=key).status_code in {401, 502}


def test_the_authority_of_one_is_not_trusted_for_the_other(pair: tuple[Stood, Stood]) -> None:
    mine, other = pair
    with mine.client as client, pytest.raises(httpx.ConnectError, match=re.compile("certificate", re.IGNORECASE)):
        client.get(f"{other.address}/readyz")


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        ("viewer", "POST", "/mlflow/ajax-api/2.0/mlflow/experiments/search", 200),
        ("viewer", "POST", "/mlflow/ajax-api/2.0/mlflow/runs/create", 403),
        ("viewer", "POST", "/alertmanager/api/v2/silences", 403),
        ("viewer", "PUT", "/mlflow/api/2.0/mlflow-artifacts/artifacts/own/search", 403),
        ("viewer", "POST", "/mlflow/ajax-api/2.0/mlflow/registered-models/get-latest-versions", 400),
        ("viewer", "GET", "/alertmanager/api/v2/status", 403),
        ("viewer", "GET", "/alertmanager/api/v2/status/", 403),
        ("viewer", "GET", "/alertmanager/api//v2/%73tatus", 403),
        ("developer", "GET", "/alertmanager/api/v1/status", 403),
        ("viewer", "GET", "/alertmanager/api/v2/alerts/groups", 200),
        ("viewer", "GET", "/alertmanager/api/v2/silences", 200),
        ("admin", "GET", "/alertmanager/api/v2/status", 200),
        ("viewer", "GET", "/prefect/deployments", 200),
        ("viewer", "POST", "/prefect/api/ui/flows/next-runs", 422),
        ("viewer", "POST", "/prefect/api/flow_runs/lateness", 200),
        ("viewer", "POST", "/prefect/api/flows/bulk_delete", 403),
        ("developer", "POST", "/prefect/api/flows/bulk_delete", 403),
        ("developer", "PUT", "/prefect/api/admin/storage", 403),
        ("viewer", "POST", "/prefect/api/flow_runs/filter", 200),
        ("viewer", "POST", "/prefect/api/flows/", 403),
        ("developer", "POST", "/prefect/api/flows/", 422),
        ("developer", "POST", "/mlflow/ajax-api/2.0/mlflow/registered-models/delete", 403),
        ("developer", "DELETE", "/mlflow/ajax-api/2.0/mlflow/registered-models/delete", 403),
        ("admin", "DELETE", "/mlflow/ajax-api/2.0/mlflow/registered-models/delete", 400),
    ],
)
def test_people_do_what_their_role_may(each: Stood, role: str, method: str, path: str, status: int) -> None:
    with each.client as client:
        asked = client.request(
            method, path, auth=each.person(role), json={"max_results": 1} if "search" in path else {}
        )
    assert asked.status_code == status, asked.text


@pytest.mark.parametrize(
    ("role", "way", "status"), [("viewer", "in", 403), ("developer", "in", 101), ("viewer", "out", 101)]
)
def test_by_a_websocket_a_viewer_listens_and_says_nothing(each: Stood, role: str, way: str, status: int) -> None:
    offered = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    offered["sec-websocket-key"] = base64.b64encode(secrets.token_bytes(16)).decode()
    with (
        each.client as client,
        client.stream("GET", f"/prefect/api/events/{way}", auth=each.person(role), headers=offered) as asked,
    ):
        assert asked.status_code == status


@pytest.mark.parametrize("path", ["", "/", "/runs", "/deployments"])
def test_a_browser_gets_prefects_pages(each: Stood, path: str) -> None:
    browser = {"accept": "text/html,application/xhtml+xml", "sec-fetch-mode": "navigate"}
    with each.client as client:
        got = client.get(f"/prefect{path}", auth=each.person("viewer"), headers=browser, follow_redirects=True)
        assert got.status_code == 200
        (script,) = re.findall(r'src="(/prefect/assets/[^"]+\.js)"', got.text)
        assert client.get(script, auth=each.person("viewer")).status_code == 200


@pytest.mark.parametrize(("size", "status"), [(16 * 2**20, 400), (16 * 2**20 + 1, 413), (17 * 2**20, 413)])
def test_a_body_that_is_too_large_is_refused_by_its_length(size: int, status: int, dev: Stood) -> None:
    with dev.client as client:
        assert client.post("/v1/predict", content=bytes(size)).status_code == status


@pytest.mark.parametrize("path", ["/livez", "/mlflow/", "/no-such-path", "/grafana/"])
def test_every_answer_tells_browsers_what_not_to_do(each: Stood, path: str) -> None:
    with each.client as client:
        told = client.get(path, auth=each.person("viewer") if path in {"/mlflow/", "/grafana/"} else None).headers
    assert told["strict-transport-security"] == "max-age=31536000"
    assert told["x-content-type-options"] == "nosniff"
    assert told["x-frame-options"] == "DENY"
    assert told["referrer-policy"] == "no-referrer"
    assert {"server", "via"}.isdisjoint(told), "nobody needs to know what answers"


def test_the_gateway_logs_what_was_asked_as_json_and_no_credentials(each: Stood) -> None:
    path = f"/{secrets.token_hex(8)}"
    with each.client as client:
        client.get(path, auth=each.person("viewer"))
        client.get(path)
    user, password = each.person("viewer")
    shown = [each.place.key.read_text(), base64.b64encode(f"{user}:{password}".encode()).decode()]

    def lines() -> list[bytes]:
        logs: bytes = each.containers()["gateway"].logs(tail=200)
        return [line for line in logs.splitlines() if path.encode() in line]

    until(lambda: len(lines()) == 2, "both are logged", 10)
    for line in lines():
        said = json.loads(line)
        assert (said["request"]["uri"], said["request"]["method"]) == (path, "GET")
        assert not any(secret.encode() in line for secret in shown)
