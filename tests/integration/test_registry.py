"""The registry on a real MLflow: one winner of every race, no half state, and nothing that the audit does not tell."""

import getpass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from published import digest, four_versions

from flows.promote import promote, rollback
from tandem.clock import Clock, wall_now
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
    promote(registry, "none", "champion", None, "nobody, rather")
    assert rollback(registry, "rather not").champion == digest(2)
    assert rollback(registry, "worse").champion == digest(1)
    with pytest.raises(RegistryError, match="no champion before"):
        rollback(registry, "nothing left")


@pytest.mark.parametrize("ref", ["2", digest(2), digest(2)[:6]])
def test_a_version_is_found_by_its_number_or_its_digest(registry: Registry, ref: str) -> None:
    assert registry.find(ref).version == 2


def test_what_several_versions_begin_with_is_told_and_which_there_are(registry: Registry) -> None:
    for last in ("a", "b"):
        tags = {"tandem.digest": digest(1)[:-1] + last, "tandem.as_of": "2024-01-01", "tandem.dirty": "tasks/a.py"}
        registry.client.create_model_version("p", "file:///nowhere", tags=tags)
    registry.client.create_model_version("p", "file:///nowhere", tags={"somebody": "else's"})
    with pytest.raises(MissingError) as several:
        registry.find("111111")
    known = "2 (222222222222), 3 (333333333333), 4 (444444444444), 5 (111111111111), 6 (111111111111)"
    assert str(several.value) == f"several versions begin with '111111'; there are {known}"
    assert registry.find(digest(1)).version == 1
    assert [(each.version, each.dirty) for each in registry.versions()][3:] == [(4, False), (5, True), (6, True)]


def test_where_nothing_was_published_the_command_that_does_is_told(tracked: Settings) -> None:
    registry = Registry("q", tracked, Clock.stopped(DAY))
    with pytest.raises(MissingError, match="there are none: `tandem publish` makes one"):
        registry.find("champion")
    assert registry.settle() == registry.state() == State()


def test_a_version_is_read_as_it_was_written(registry: Registry) -> None:
    (first, *_), now = registry.versions(), wall_now()
    assert timedelta(0) <= now - first.created < timedelta(minutes=10)
    assert (first.commit, first.attested, first.figures, first.proposal) == (None, False, {}, None)
    for name, value in (("commit", "c0ffee"), ("attested", "yes"), ("figures", '{"auc": 0.5}')):
        registry.client.set_model_version_tag("p", "1", f"tandem.{name}", value)
    registry.propose(first, {"as": "challenger"})
    first, second, *_ = registry.versions()
    assert (first.commit, first.attested, first.figures) == ("c0ffee", True, {"auc": 0.5})
    assert first.proposal == {"as": "challenger"}
    assert (second.attested, second.proposal) == (False, None)


def test_problems_share_an_audit_and_nothing_else(registry: Registry, settings: Settings) -> None:
    promote(registry, "1", "champion", None, "the first")
    other = Registry("q", settings, Clock.stopped(DAY))
    with other.lock():
        other.record("note", said="hello")
    assert (other.state(), [event["number"] for event in other.events()]) == (State(), [2])
    assert [event["number"] for event in registry.events()] == [1]
    assert {"event": "note", "problem": "q", "said": "hello"}.items() <= other.events()[0].items()


def test_an_event_says_who_did_it(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_ACTOR", "ada")
    promote(registry, "1", "champion", None, "the first")
    monkeypatch.delenv("TANDEM_ACTOR")
    promote(registry, "2", "champion", None, "the second")
    assert [event["by"] for event in registry.events()] == ["ada", getpass.getuser()]
    said = f"^generation 0 is over: {getpass.getuser()} made 222222222222 champion or kept it, because: the second[.] "
    with pytest.raises(ConflictError, match=said):
        registry.change("promote", State(), State(champion=digest(3)), "too late")


def test_artifacts_are_beside_a_database_that_is_a_file(registry: Registry, settings: Settings) -> None:
    made = registry.experiment()
    assert registry.experiment() == made
    location = registry.client.get_experiment(made).artifact_location
    assert location == (settings.var / "mlflow" / "artifacts").absolute().as_uri()


def test_only_one_writes_at_a_time(registry: Registry, settings: Settings) -> None:
    with registry.lock(), pytest.raises(Timeout):
        FileLock(settings.var / "ledger" / "audit" / "lock", timeout=0).acquire()


def test_a_failure_of_mlflow_is_not_taken_for_a_model_that_is_there(tracked: Settings) -> None:
    registry = Registry("p q/r", tracked, Clock.stopped(DAY))  # no name of a model
    with pytest.raises(TrackerError, match="name"):
        registry.create("nobody's", {})


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


def test_a_first_change_that_was_cut_off_is_finished(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "show", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            promote(registry, "1", "champion", None, "killed here")
    assert shown(registry) == {}
    assert registry.settle().champion == digest(1)
    assert shown(registry) == {"champion": 1}


def test_an_alias_that_somebody_moved_in_mlflow_is_put_back(registry: Registry) -> None:
    promote(registry, "1", "champion", None, "the first")
    registry.client.set_registered_model_alias("p", "champion", "3")
    registry.client.set_registered_model_alias("p", "shadow", "2")
    assert registry.settle().champion == digest(1)
    assert shown(registry) == {"champion": 1}


def test_a_state_that_somebody_changed_in_mlflow_is_put_back(registry: Registry) -> None:
    after = promote(registry, "1", "champion", None, "the first")
    registry.client.set_registered_model_tag("p", "tandem.state", "{}")
    assert registry.settle() == after
    assert State.model_validate_json(registry.client.get_registered_model("p").tags["tandem.state"]) == after


@pytest.mark.parametrize("kept", [0, 1])
def test_an_audit_that_has_lost_its_end_stops_everything(kept: int, registry: Registry, settings: Settings) -> None:
    for ref in ("1", "2"):
        promote(registry, ref, "champion", None, "newer")
    lines = audit(settings).read_bytes().splitlines(keepends=True)
    audit(settings).write_bytes(b"".join(lines[:kept]))
    for ask in (registry.settle, lambda: promote(registry, "3", "champion", None, "unseen")):
        with pytest.raises(
            RegistryError, match=rf"MLflow shows generation 2, but .*audit/0 ends with {kept}: restore it"
        ):
            ask()
    registry.client.delete_registered_model_tag("p", "tandem.state")
    assert registry.settle().generation == kept, "by somebody's own decision"


def test_a_registry_that_is_gone_is_told(registry: Registry) -> None:
    promote(registry, "1", "champion", None, "the first")
    registry.client.delete_registered_model("p")
    with pytest.raises(
        MissingError, match=r"MLflow holds nothing of p, of which .*audit/0 tells: restore it, or `tandem"
    ):
        registry.settle()


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
