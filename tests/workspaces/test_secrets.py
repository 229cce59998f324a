"""Secrets are files that one user reads: in no state, plan, inspection, log, image or environment."""

import json
import secrets
import stat
from datetime import UTC, datetime

import pytest
from stood import Stood, until

from tandem.workspace import READERS
from tasks.containers import engine
from tasks.terraform import outputs


def values(stood: Stood) -> list[str]:
    files = [path for reader in READERS for path in (stood.place.secrets / reader).iterdir()]
    words = [word for path in files for word in path.read_text().replace(":", " ").replace('"', " ").split()]
    return [*{word for word in words if len(word) >= 30}, *(path.read_text() for path in stood.place.people.iterdir())]


def told(stood: Stood) -> dict[str, str]:
    """Give all that a secret could have leaked into."""
    found = {"state": (stood.place.folder / "terraform.tfstate").read_text()}
    found["plan"] = stood.command("plan").stdout
    found["outputs"] = json.dumps(outputs(stood.place))
    for name, each in stood.containers().items():
        found[f"inspect {name}"] = json.dumps(each.attrs)
        found[f"logs {name}"] = each.logs().decode(errors="replace")
    for image in {each.image.id for each in stood.containers().values()}:
        found[f"history {image}"] = json.dumps(engine().api.history(image))
    return found


def test_no_secret_is_anywhere_else(each: Stood) -> None:
    held = values(each)
    assert len(held) > 8
    leaked = {(where, place) for where, text in told(each).items() for place, word in enumerate(held) if word in text}
    assert leaked == set()


def test_a_leak_would_be_found(each: Stood) -> None:
    name = each.place.secrets / "alertmanager" / "webhook"
    assert str(name.parent) in told(each)["state"], "paths are there, so what is in files would be seen, too"


@pytest.mark.parametrize("reader", READERS)
def test_secrets_are_one_users_alone(reader: str, each: Stood) -> None:
    folder = each.place.secrets / reader
    assert stat.S_IMODE(each.place.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o500
    for path in (folder, *folder.iterdir()):
        assert path.stat().st_uid == READERS[reader]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} <= {0o400}


def test_no_environment_holds_one(each: Stood) -> None:
    held = values(each)
    for container in each.containers().values():
        _, said = container.exec_run(
            ["bash", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'"]
        )
        assert not [word for word in held if word in said.decode(errors="replace")], container.name


@pytest.mark.parametrize(
    "form",
    [
        "http://localhost:1/{}?of=(all)&more=$1*\r\n",
        "http://ada:word@localhost:1/a/{}\n",
        "http://{}:word@localhost:1/#",
    ],
)
def test_a_webhooks_address_is_not_logged_when_it_does_not_answer(form: str, dev: Stood) -> None:
    webhook, server = dev.place.secrets / "alertmanager" / "webhook", dev.containers()["alertmanager"]
    token = secrets.token_urlsafe(32)
    webhook.write_text(form.format(token))
    began = datetime.now(UTC).replace(tzinfo=None)
    server.restart()
    alert = [{"labels": {"alertname": "Tried", "workspace": "dev"}}]
    with dev.client as client:
        until(
            lambda: client.post("/alertmanager/api/v2/alerts", json=alert, auth=dev.person("developer")).is_success,
            "Alertmanager takes an alert",
        )
    until(lambda: b"<webhook>" in server.logs(since=began), "its failure is logged")
    assert token.encode() not in server.logs()
    webhook.write_text("")
    server.restart()
