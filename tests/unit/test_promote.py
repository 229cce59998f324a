"""Who takes traffic next: every state makes sense, and each change is one that was meant."""

from datetime import datetime
from typing import Any

import pytest
from pydantic import ValidationError

from tandem.errors import RegistryError
from tandem.registry import Role, State, Version, champions
from tasks.promote import promoted, reasoned, withdrawn

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
DAY = datetime(2024, 1, 1)  # noqa: DTZ001


def version(digest: str, *, dirty: bool = False) -> Version:
    return Version(
        version=1,
        digest=digest,
        as_of=DAY,
        created=DAY,
        run="",
        commit=None,
        dirty=dirty,
        attested=False,
        figures={},
        proposal=None,
    )


FULL = State(generation=7, champion=A, challenger=B, share=0.25, shadow=C)


@pytest.mark.parametrize(
    ("before", "digest", "role", "share", "after"),
    [
        (State(), A, "champion", None, State(champion=A)),
        (State(champion=A), B, "challenger", None, State(champion=A, challenger=B)),
        (State(champion=A), B, "challenger", 0.1, State(champion=A, challenger=B, share=0.1)),
        (State(champion=A, challenger=B, share=0.1), B, "challenger", 0.5, State(champion=A, challenger=B, share=0.5)),
        (State(champion=A, challenger=B, share=0.1), C, "challenger", None, State(champion=A, challenger=C)),
        (State(champion=A, challenger=B, share=0.1), B, "champion", None, State(champion=B)),
        (State(champion=A, challenger=B, share=0.1), C, "champion", None, State(champion=C, challenger=B, share=0.1)),
        (State(champion=A, challenger=B, share=0.1), B, "shadow", None, State(champion=A, shadow=B)),
        (State(champion=A), B, "shadow", None, State(champion=A, shadow=B)),
        (FULL, C, "challenger", None, State(generation=7, champion=A, challenger=C)),
    ],
)
def test_a_version_gets_a_role(before: State, digest: str, role: Role, share: float | None, after: State) -> None:
    assert promoted(before, version(digest), role, share) == after


@pytest.mark.parametrize(
    ("before", "digest", "role", "share", "why"),
    [
        (State(), A, "challenger", None, "without a champion"),
        (State(), A, "shadow", None, "without a champion"),
        (State(champion=A), A, "challenger", None, "is the champion: make another one champion first"),
        (State(champion=A), A, "champion", None, "nothing would change"),
        (State(champion=A), B, "shadow", 0.5, "a share is a challenger's"),
        (State(champion=A), B, "challenger", 1.5, "less than or equal to 1"),
        (State(champion=A), B, "challenger", -0.1, "greater than or equal to 0"),
        (FULL, B, "challenger", 0.25, "nothing would change"),
    ],
)
def test_what_makes_no_sense_is_refused(before: State, digest: str, role: Role, share: float | None, why: str) -> None:
    with pytest.raises(RegistryError, match=why):
        promoted(before, version(digest), role, share)


def test_code_that_no_commit_holds_never_becomes_champion() -> None:
    with pytest.raises(RegistryError, match="no commit holds"):
        promoted(State(), version(A, dirty=True), "champion", None)
    assert promoted(State(champion=A), version(B, dirty=True), "shadow", None).shadow == B


def test_a_role_can_be_taken_away() -> None:
    assert withdrawn(FULL, "challenger") == State(generation=7, champion=A, shadow=C)
    assert withdrawn(FULL, "shadow") == State(generation=7, champion=A, challenger=B, share=0.25)
    assert withdrawn(State(champion=A), "champion") == State()
    with pytest.raises(RegistryError, match="without a champion"):
        withdrawn(FULL, "champion")
    with pytest.raises(RegistryError, match="there is no shadow"):
        withdrawn(State(champion=A), "shadow")
    with pytest.raises(RegistryError, match="who has no role has none"):
        withdrawn(FULL, "challenger", 0.5)


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_reason_says_something(reason: str) -> None:
    assert reasoned(" better ") == "better"
    with pytest.raises(RegistryError, match="say why"):
        reasoned(reason)


def test_rollbacks_go_back_one_champion_each() -> None:
    def event(name: str, champion: str | None) -> dict[str, Any]:
        return {"event": name, "state": State(champion=champion).model_dump()}

    told: list[dict[str, Any]] = [
        event("promote", A),
        {"event": "publish"},
        event("promote", B),
        event("promote", B),
        event("promote", C),
    ]
    assert champions(told) == [A, B, C]
    assert champions([*told, event("rollback", B)]) == [A, B]
    assert champions([*told, event("rollback", B), event("rollback", A)]) == [A]
    assert champions([*told, event("rollback", B), event("promote", C)]) == [A, B, C]
    assert champions([event("withdraw", None)]) == []
    gone = [*told, event("withdraw", None)]
    assert champions(gone) == champions([*gone, event("withdraw", None)]) == [A, B, C, ""], (
        "another role's was no change"
    )
    assert champions([*gone, event("rollback", C)]) == champions([*gone, event("promote", C)]) == [A, B, C]
    assert champions([*gone, event("promote", A)]) == [A, B, C, A]
    assert champions([event("promote", A), event("promote", A)]) == [A], "a share was changed"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"champion": A, "challenger": A}, "one bundle cannot be two"),
        ({"champion": A, "shadow": A}, "one bundle cannot be two"),
        ({"champion": A, "challenger": B, "shadow": B}, "one bundle cannot be two"),
        ({"challenger": A}, "without a champion"),
        ({"shadow": A}, "without a champion"),
        ({"champion": A, "share": 0.1}, "no share without a challenger"),
        ({"champion": A, "challenger": B, "share": 1.1}, "less than or equal to 1"),
        ({"champion": A, "challenger": B, "share": -0.1}, "greater than or equal to 0"),
        ({"generation": -1}, "greater than or equal to 0"),
    ],
)
def test_a_state_that_makes_no_sense_is_none(said: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        State.model_validate(said)


def test_a_bundle_is_what_the_state_says() -> None:
    assert [FULL.of(digest) for digest in (A, B, C, "d" * 64)] == [("champion",), ("challenger",), ("shadow",), ()]
    assert State(champion=A, challenger=B, share=1).share == 1
    assert State().generation == 0
