"""Keys over real HTTP: who shows one, what is never told, and what others cannot read."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from answering import served
from commands import tandem
from conftest import Workspace
from workers import worker

from flows.commands.keys import add, remove
from tandem.errors import BusyError
from tandem.schedule import alone
from tandem.serving.access import Keys

EXAMPLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "problems/parcels/example.json").read_text())
PERSON = "zoe@example.org"
KEYS = {"TANDEM_ACCESS": "keys", "TANDEM_ACCESS_LOG": "true", "TANDEM_LOG_FORMAT": "json"}


def test_a_server_for_others_asks_for_keys_and_does_not_start_without_any(rebuilt: Workspace) -> None:
    told = tandem(rebuilt.root, "serve", "--port", "0", "--host", "0.0.0.0")  # noqa: S104 - it must not start
    assert told.returncode == 1
    assert "who asks 0.0.0.0 must show a key, and there is none: `tandem keys add" in told.stderr


def test_keys_are_made_shown_and_taken_away(rebuilt: Workspace) -> None:
    made = {
        role: tandem(rebuilt.root, "keys", "add", role, "--role", role).stdout.strip() for role in ("admin", "viewer")
    }
    assert all(key.startswith("tandem_") for key in made.values())
    shown = json.loads(tandem(rebuilt.root, "keys", "list", "--json").stdout)
    assert shown == [{"name": r, "role": r, "rate": None} for r in ("admin", "viewer")]
    assert tandem(rebuilt.root, "keys", "list").stdout.split() == [
        "admin",
        "admin",
        "any",
        "rate",
        "viewer",
        "viewer",
        "any",
        "rate",
    ]
    assert "say whose it is" in tandem(rebuilt.root, "keys", "add", " ").stderr
    assert "there is no role 'king'" in tandem(rebuilt.root, "keys", "add", "x", "--role", "king").stderr
    assert "there is a key 'admin' already" in tandem(rebuilt.root, "keys", "add", "admin").stderr
    assert tandem(rebuilt.root, "keys", "remove", "admin").returncode == 0
    assert "there is no key 'admin'" in tandem(rebuilt.root, "keys", "remove", "admin").stderr


def test_who_changes_keys_is_alone(rebuilt: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(rebuilt.root)
    save, saved = Keys.save, list[str]()

    def watched(keys: Keys, path: Path) -> None:
        with pytest.raises(BusyError), alone(rebuilt.settings.schedule, "keys"):
            pass
        saved.append(path.name)
        save(keys, path)

    monkeypatch.setattr(Keys, "save", watched)
    add("shop")
    remove("shop")
    assert saved == ["keys.json"] * 2


def test_keys_and_persons_are_never_told(rebuilt: Workspace) -> None:
    made = {
        role: tandem(rebuilt.root, "keys", "add", role, "--role", role).stdout.strip() for role in ("client", "admin")
    }
    with served(rebuilt.root, beside=KEYS) as (address, process, invited), httpx.Client(base_url=address) as client:
        body = {"instances": [EXAMPLE | {"customer": PERSON}]}
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/predict", json=body).status_code == 401
        mine = {"authorization": f"Bearer {made['client']}", "x-request-id": "order-4711"}
        told = client.post("/v1/predict", json=body, headers=mine)
        assert (told.status_code, told.headers["x-request-id"]) == (200, "order-4711")
        assert client.get("/metrics", headers=mine).status_code == 403
        metrics = client.get("/metrics", headers={"authorization": f"Bearer {made['admin']}"}).text
        process.terminate()
        assert process.stderr is not None
        said = process.stderr.read()
    assert EXAMPLE["customer"] in invited  # who is made up
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (logged,) = [line for line in lines if line.get("request_id") == "order-4711" and line.get("status") == 200]
    assert (logged["method"], logged["path"]) == ("POST", "/v1/predict")
    ledger = "".join(p.read_text() for p in (rebuilt.root / "var" / "ledger").glob("*/0*"))
    assert EXAMPLE["parcel"] in ledger
    for secret in (*made.values(), PERSON):
        assert secret not in said
        assert secret not in metrics
        assert secret not in ledger
    assert (rebuilt.root / "var" / "pseudonyms.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_was_taken_away_is_none_though_nothing_else_can_be_read(rebuilt: Workspace) -> None:
    key = tandem(rebuilt.root, "keys", "add", "gone").stdout.strip()
    with worker(rebuilt.root, KEYS) as (address, _), httpx.Client(base_url=address) as client:
        rebuilt.settings.clock.write_text("{")
        headers = {"authorization": f"Bearer {key}"}
        assert client.get("/openapi.json", headers=headers).status_code == 200
        assert tandem(rebuilt.root, "keys", "remove", "gone").returncode == 0
        while (
            client.get("/openapi.json", headers=headers).status_code != 401
        ):  # whoever runs this ends it if it does not
            pass


@pytest.mark.parametrize(("name", "value"), [("DRAIN_SECONDS", "-1"), ("DURABILITY", "sometimes"), ("ANY_MOMENT", "x")])
def test_a_setting_that_cannot_be_is_told(rebuilt: Workspace, name: str, value: str) -> None:
    told = tandem(rebuilt.root, "serve", "--port", "0", beside={f"TANDEM_{name}": value})
    assert told.returncode == 1
    assert told.stderr.startswith(f"the environment is not valid: TANDEM_{name}: ")
    assert "Traceback" not in told.stderr
