"""From raw files to an answer over TLS: the worker's schedules, the registry, policy, sync, clients, metrics, alerts."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stood import Stood, docker, until

from tandem.workspace import READERS
from tasks.containers import engine

RECEIVER = """
import http.server, sys
class Told(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["content-length"])).decode().strip(), flush=True)
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("", 8000), Told).serve_forever()
"""
POSTBOX = """
import base64, socketserver
class Post(socketserver.StreamRequestHandler):
    def said(self, words):
        self.wfile.write(words.encode() + bytes((13, 10)))
        return self.rfile.readline().decode().strip()
    def handle(self):
        line, let_in = self.said("220 postbox"), False
        while line and line != "QUIT":
            verb, _, rest = line.partition(" ")
            if verb == "EHLO":
                line = self.said("250-postbox" + chr(13) + chr(10) + "250 AUTH LOGIN")
            elif verb == "AUTH":
                words = [self.said("334 " + base64.b64encode(word).decode()) for word in (b"Username:", b"Password:")]
                let_in = [base64.b64decode(word).decode() for word in words] == ["tandem", "PASSWORD"]
                line = self.said("235 so be it" if let_in else "535 no")
            elif not let_in:
                line = self.said("530 who are you?")
            elif verb == "DATA":
                line = self.said("354 go on")
                while line != ".":
                    print(line, flush=True)
                    line = self.rfile.readline().decode().strip()
                line = self.said("250 it is sent")
            else:
                line = self.said("250 well")
        self.said("221 bye")
socketserver.ThreadingTCPServer(("", 2525), Post).serve_forever()
"""
"""Takes mail from who knows the password, and prints it."""


def test_in_dev_the_first_bundle_takes_traffic_by_itself(dev: Stood) -> None:
    until(dev.has_published, "the worker trained and published")
    until(dev.answers, "dev answers")
    assert "champion" in dev.models()


def test_in_prod_the_first_bundle_waits_for_an_approval(approved: Stood) -> None:
    """What was seen while it had none is said where it is given."""
    assert "champion" in approved.models()


def test_a_client_with_a_key_of_its_own_is_let_in_and_nobody_else(each: Stood) -> None:
    until(each.answers, "it answers")
    each.run("platform", "tandem", "keys", "remove", "shop", ok=False)
    key = each.run("platform", "tandem", "keys", "add", "shop", "--role", "client").strip()
    with each.client as client:
        shop = {"authorization": f"Bearer {key}"}
        until(lambda: client.get("/v1/model", headers=shop).status_code == 200, "the key is taken up", 10)
        told = client.post("/v1/predict", json=each.example, headers=shop).json()
        assert 0 < told["predictions"][0]["score"] < 1
        assert client.post("/v1/predict", json=each.example, headers={"authorization": ""}).status_code == 401
        assert client.get("/metrics", headers=shop).status_code == 403
        explained = client.post("/v1/explain", json=each.example, headers=shop)
        assert explained.status_code == 200, explained.text


def test_prometheus_sees_what_it_should(each: Stood) -> None:
    until(each.answers, "it answers")

    def ask(query: str) -> dict[str, float]:
        with each.client as client:
            asked = client.get("/prometheus/api/v1/query", params={"query": query}, auth=each.person("viewer"))
        found = asked.json()["data"]["result"]
        return {one["metric"].get("flow") or one["metric"].get("job", ""): float(one["value"][1]) for one in found}

    jobs = {"alertmanager", "gateway", "machine", "mlflow", "prefect", "prometheus", "serving"}
    until(lambda: ask("up") == dict.fromkeys(jobs, 1.0), "all that is scraped answers", 90)
    until(lambda: ask("sum(tandem_rows_total) > 0"), "answers are counted", 60)
    until(lambda: ask("tandem_flow_ended_seconds > 0").keys() >= {"pipeline", "refresh"}, "flows are told of", 60)
    with each.client as client:
        rules = client.get("/prometheus/api/v1/rules", auth=each.person("viewer")).json()["data"]["groups"][0]["rules"]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert len(rules) >= 10


def files(archive: bytes) -> dict[str, bytes]:
    """Give an archive's files by their names, but for the index, which also names what was said of the bundle."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = [each for each in opened if each.isfile() and each.name != "index.json"]
        return {each.name: extracted.read() for each in members if (extracted := opened.extractfile(each))}


def test_a_bundle_of_dev_is_the_same_bytes_in_prod(dev: Stood, prod: Stood) -> None:
    until(lambda: dev.has_published() and prod.has_published(), "both have bundles")

    def exported(stood: Stood, ref: str) -> bytes:
        stood.run("platform", "tandem", "export", ref, "/tmp/release.tar")  # noqa: S108 - a container's tmpfs
        return docker("exec", f"tandem-{stood.name}-platform", "cat", "/tmp/release.tar")  # noqa: S108

    sent = exported(dev, "champion")
    docker("exec", "-i", "tandem-prod-platform", "bash", "-c", "cat > /tmp/came.tar", given=sent)
    prod.run("platform", "tandem", "import", "/tmp/came.tar")  # noqa: S108
    digest = json.loads(dev.run("platform", "cat", "var/serving/traffic.json"))["champion"]
    blobs = [files(sent), files(exported(prod, digest))]
    assert f"blobs/sha256/{digest}" in blobs[0]
    assert blobs[0].items() <= blobs[1].items(), "prod's has approvals beside it"


@contextmanager
def outside(stood: Stood, name: str, *words: str) -> Iterator[Callable[[], bytes]]:
    """Somebody outside who is told of alerts; gives what was said."""
    image = stood.containers()["worker"].image.id
    network = f"tandem-{stood.name}-edge"
    started = engine().containers.run(image, ["python3", *words], detach=True, network=network, name=name)
    try:
        yield started.logs
    finally:
        started.remove(force=True)


def test_a_replica_that_is_missing_is_told_of_and_so_is_its_return(dev: Stood) -> None:
    until(dev.answers, "it answers")
    webhook, password = (dev.place.secrets / "alertmanager" / name for name in ("webhook", "smtp"))
    webhook.write_text("http://receiver:8000/")
    password.write_text("it's a \\ secret")
    os.chown(password, READERS["alertmanager"], READERS["alertmanager"])
    postbox = POSTBOX.replace('"PASSWORD"', repr(password.read_text()))
    (replica,) = [each for name, each in dev.containers().items() if name.startswith("serving")]

    def of_it(said: bytes, how: str) -> bool:
        """Whether the webhook was told of this alert: others may come and go, as of the answers that fail meanwhile."""
        messages = [json.loads(line) for line in said.splitlines()]
        assert {each["externalURL"] for each in messages} <= {f"{dev.address}/alertmanager"}
        alerts = [each for message in messages for each in message["alerts"]]
        return ("dev", "ReplicaMissing", how) in {
            (each["labels"]["workspace"], each["labels"]["alertname"], each["status"]) for each in alerts
        }

    with outside(dev, "receiver", "-c", RECEIVER) as told, outside(dev, "postbox", "-c", postbox) as mailed:
        dev.containers()["alertmanager"].restart()
        replica.stop()
        try:
            until(lambda: of_it(told(), "firing"), "the alert is told of", 120)
            until(lambda: b"Subject: [FIRING:1] ReplicaMissing dev" in mailed(), "and by mail", 30)
        finally:
            replica.start()
        until(lambda: of_it(told(), "resolved"), "its end is told of", 120)
        until(lambda: b"Subject: [RESOLVED] ReplicaMissing dev" in mailed(), "and by mail", 30)
        assert b"To: ops@example.org" in mailed()
    webhook.write_text("")
    password.unlink()
    dev.containers()["alertmanager"].restart()
    until(dev.answers, "it answers again")
