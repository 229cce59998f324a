"""Who may ask what."""

from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest

from tandem.errors import AccessError
from tandem.serving.access import ROLES, SCOPES, Access, Keys, Role
from tandem.serving.counts import Counts
from tandem.serving.http import Call, Route
from tandem.serving.refused import Refused

MAY: dict[str, set[str]] = {
    "health": {"admin", "developer", "viewer", "client", "nobody"},
    "read": {"admin", "developer", "viewer", "client"},
    "predict": {"admin", "developer", "client"},
    "records": {"admin", "developer"},
    "metrics": {"admin", "developer", "viewer"},
}


async def nothing(_: Call) -> Any:  # noqa: ANN401
    raise NotImplementedError


def asked(access: Access, scope: str, told: str | None) -> int:
    """The status that a key gets for an endpoint of a scope."""
    headers = [(b"authorization", told.encode())] if told is not None else []
    call = Call({"type": "http", "headers": headers, "path": "/"}, cast("Any", nothing))
    try:
        access.check(call, Route("GET", "/", nothing, "x", cast("Any", scope)))
    except Refused as exc:
        return exc.status
    return 200


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    found, told = Keys(), dict[str, str]()
    for role in ROLES:
        found, told[role] = found.add(f"the {role}", role)
    found.save(tmp_path / "keys.json")
    return tmp_path / "keys.json", told


def test_each_role_may_what_it_may_and_nothing_else(keys: tuple[Path, dict[str, str]]) -> None:
    path, told = keys
    access = Access(path, Counts(), required=True)
    for scope, who in product(MAY, [*ROLES, "nobody"]):
        given = f"Bearer {told[who]}" if who in told else None
        refused = 401 if who == "nobody" else 403
        assert asked(access, scope, given) == (200 if who in MAY[scope] else refused), (scope, who)
    assert set().union(*SCOPES.values()) | {"health"} == set(MAY)


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", "Bearer x", "Basic {key}", "{key}", "Bearer {key}x"])
def test_what_is_not_the_key_is_refused(keys: tuple[Path, dict[str, str]], given: str) -> None:
    access = Access(keys[0], Counts(), required=True)
    assert asked(access, "predict", given.format(key=keys[1]["admin"])) == 401
    assert asked(access, "predict", f"bearer {keys[1]['admin']}") == 200


def test_where_no_key_is_asked_for_anybody_may(tmp_path: Path) -> None:
    assert asked(Access(tmp_path / "none", Counts(), required=False), "records", None) == 200


def test_keys_come_and_go_while_it_serves(keys: tuple[Path, dict[str, str]]) -> None:
    path, told = keys
    access = Access(path, Counts(), required=True)
    Keys.load(path).without("the client").save(path)
    access.look()
    assert asked(access, "predict", f"Bearer {told['client']}") == 401
    assert asked(access, "predict", f"Bearer {told['admin']}") == 200
    path.write_text("{")
    with pytest.raises(AccessError, match="holds no keys"):
        access.look()
    assert asked(access, "predict", f"Bearer {told['admin']}") == 200


def test_a_key_is_never_kept(keys: tuple[Path, dict[str, str]]) -> None:
    path, told = keys
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(key in path.read_text() for key in told.values())


def test_a_name_is_taken_once_and_given_back(keys: tuple[Path, dict[str, str]]) -> None:
    found = Keys.load(keys[0])
    with pytest.raises(AccessError, match="there is a key 'the admin' already"):
        found.add("the admin", "viewer")
    with pytest.raises(AccessError, match="there is no key 'nobody': there are the admin"):
        found.without("nobody")
    with pytest.raises(AccessError, match="there are none"):
        Keys().without("nobody")


@pytest.mark.parametrize("role", ROLES)
def test_a_key_comes_as_often_as_it_may(tmp_path: Path, role: Role) -> None:
    found, told = Keys().add("one", role, rate=5)
    found.save(tmp_path / "keys.json")
    now, counts = [0.0], Counts()
    access = Access(tmp_path / "keys.json", counts, required=True, clock=lambda: now[0])
    statuses = [asked(access, "read", f"Bearer {told}") for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    now[0] = 1.0
    assert [asked(access, "read", f"Bearer {told}") for _ in range(6)] == [200] * 5 + [429]
    assert counts.of("refused_total", "rate") == 3


def test_a_key_that_may_come_seldom_may_come(tmp_path: Path) -> None:
    found, told = Keys().add("one", "client", rate=0.4)
    found.save(tmp_path / "keys.json")
    now = [0.0]
    access = Access(tmp_path / "keys.json", Counts(), required=True, clock=lambda: now[0])
    assert [asked(access, "read", f"Bearer {told}") for _ in range(2)] == [200, 429]
    now[0] = 3.0
    assert [asked(access, "read", f"Bearer {told}") for _ in range(2)] == [200, 429]
