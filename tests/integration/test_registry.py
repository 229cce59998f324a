"""The registry on a real MLflow: one winner of every race, no half state, and nothing that the audit does not tell."""

from datetime import datetime
from pathlib import Path

import pytest
from published import digest, four_versions

from flows.promote import promote, rollback
from tandem.clock import Clock
from tandem.errors import ConflictError, LedgerError, MissingError, RegistryError, TrackerError
from tandem.registry import Registry, State
from tandem.settings import Settings

DAY = datetime(2024, 1, 1)  # noqa: DTZ001


@pytest.fixture
def settings(tracked: Settings) -> Settings:
    return four_versions(tracked)


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry("p", settings, Clock.stopped(DAY))


def audit(settings: Settings) -> Path:
    return settings.var / "ledger" / "audit" / "0"


def shown(registry: Registry) -> dict[str, int]:
    return {str(role): int(number) for role, number in registry.client.get_registered_model("p").aliases.items()}


def test_each_change_is_in_the_audit_and_in_mlflow(registry: Registry) -> None:
    promote(registry, "1", "champion", None, "the first")
    promote(registry, digest(2)[:12], "challenger", 0.1, "it may be better")
    after = promote(registry, "challenger", "champion", None, "it is")
    assert after == registry.state() == registry.settle()
    assert after == State(generation=3, champion=digest(2))
    assert shown(registry) == {"champion": 2}
    events = registry.events()
    assert [event["number"] for event in events] == [1, 2, 3]
    assert [event["reason"] for event in events] == ["the first", "it may be better", "it is"]
    assert all(event["by"] and event["wall"] and event["world"] == DAY.isoformat() for event in events)
    assert [State(**event["before"]) for event in events[1:]] == [State(**event["state"]) for event in events[:-1]]


def test_rollback_returns_to_the_champion_before(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="no champion before"):
        rollback(registry, "too soon")
    for ref in ("1", "2", "3"):
        promote(registry, ref, "champion", None, "newer")
    assert rollback(registry, "bad").champion == digest(2)
    assert rollback(registry, "worse").champion == digest(1)
    with pytest.raises(RegistryError, match="no champion before"):
        rollback(registry, "nothing left")


@pytest.mark.parametrize("ref", ["9", "ffffffffffff", "11111", "champion", ""])
def test_what_is_not_there_is_told(registry: Registry, ref: str) -> None:
    with pytest.raises(MissingError, match="there is no version"):
        promote(registry, ref, "champion", None, "why not")
    assert registry.events() == []


def test_a_refused_change_leaves_nothing(registry: Registry) -> None:
    promote(registry, "1", "champion", None, "the first")
    with pytest.raises(RegistryError, match="nothing would change"):
        promote(registry, "1", "champion", None, "again")
    with pytest.raises(RegistryError, match="there is no shadow"):
        promote(registry, "none", "shadow", None, "away")
    assert len(registry.events()) == 1


def test_a_decision_on_a_state_that_is_over_is_refused(registry: Registry) -> None:
    before = registry.state()
    promote(registry, "1", "champion", None, "faster")
    with pytest.raises(ConflictError, match="because: faster"):
        registry.change("promote", before, State(champion=digest(2)), "slower")
    assert registry.state().champion == digest(1)


def test_a_change_that_was_cut_off_before_mlflow_showed_it_is_finished(
    registry: Registry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(registry, "1", "champion", None, "the first")
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "show", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote(registry, "2", "champion", None, "killed here")
    assert shown(registry) == {"champion": 1}
    another = Registry("p", settings, Clock.stopped(DAY))
    assert another.settle().champion == digest(2)
    assert shown(another) == {"champion": 2}


def test_an_alias_that_somebody_moved_in_mlflow_is_put_back(registry: Registry) -> None:
    promote(registry, "1", "champion", None, "the first")
    registry.client.set_registered_model_alias("p", "champion", "3")
    registry.client.set_registered_model_alias("p", "shadow", "2")
    assert registry.settle().champion == digest(1)
    assert shown(registry) == {"champion": 1}


def test_an_audit_that_was_changed_stops_everything(registry: Registry, settings: Settings) -> None:
    promote(registry, "1", "champion", None, "the first")
    promote(registry, "2", "champion", None, "the second")
    path = audit(settings)
    path.write_bytes(path.read_bytes().replace(b"the first", b"the FIRST"))
    with pytest.raises(LedgerError, match="line 1"):
        promote(registry, "3", "champion", None, "unseen")


def test_what_mlflow_cannot_do_is_told_in_a_line(settings: Settings) -> None:
    uri = settings.tracking
    with pytest.raises(TrackerError, match=rf"^MLflow at {uri}: .*version=9\) not found$"):
        Registry("p", settings, Clock.stopped(DAY)).client.get_model_version("p", "9")
    database = Path(uri.removeprefix("sqlite:///"))
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(TrackerError, match=rf"^MLflow at {uri}: .*not a database$"):
        Registry("p", settings, Clock.stopped(DAY)).versions()
