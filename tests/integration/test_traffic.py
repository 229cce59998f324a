"""Traffic in a worker: who answers, what a challenger and a shadow may do, and what is taken up while it serves."""

import asyncio
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from answering import Answering
from conftest import Workspace

from tandem import ledger
from tandem.bundle import Bundle, seal
from tandem.errors import TrafficError
from tandem.problem import load_problem
from tandem.serving.core import Answer, Core
from tandem.serving.counts import Counts
from tandem.serving.memory import Memory
from tandem.serving.records import Records
from tandem.serving.refused import Refused
from tandem.serving.served import Source, Watched
from tandem.serving.traffic import TRAFFIC, Traffic
from tasks.snapshots import Knowledge, write_due

EXAMPLE = load_problem("parcels").example()


def another(bundle: Bundle, folder: Path, **decision: object) -> Bundle:
    """Make a bundle that decides otherwise."""
    shutil.copytree(bundle.folder, folder)
    said = bundle.json("decision.json") | decision
    (folder / "decision.json").write_text(json.dumps(said))
    seal(folder, bundle.annotations)
    return Bundle.open(folder)


class Serving:
    """A folder that is served from, and a worker's core over it."""

    def __init__(self, folder: Path, bundles: Sequence[Bundle], built: Workspace) -> None:
        self.folder, self.counts = folder, Counts()
        for bundle in bundles:
            shutil.copytree(bundle.folder, folder / "bundles" / bundle.digest)
        spec = bundles[0].spec
        self.moment = bundles[0].as_of
        facts = built.data / "facts"
        write_due(Knowledge(load_problem("parcels"), facts, spec.grid, self.moment), folder / "snapshots", 2)
        self.records = Records(folder / "ledger")

    def say(self, traffic: Traffic) -> None:
        """Write what sync would."""
        temporary = self.folder / ".traffic"
        temporary.write_bytes(msgspec.json.encode(traffic))
        temporary.rename(self.folder / TRAFFIC)

    def watched(self) -> Watched:
        found = Watched(Source(self.folder), self.folder / "snapshots", self.counts)
        found.look(self.moment)
        return found

    def answers(self, watched: Watched, count: int, *, rest: float = 0.0) -> list[Answer]:
        """Ask for so many parcels, one request each."""

        async def ask() -> list[Answer]:
            core = Core(watched, lambda: self.moment, Memory(self.records, "process"), self.counts)
            rows = [EXAMPLE | {"parcel": f"P{number:06d}"} for number in range(count)]
            told = await asyncio.gather(*[core.answer(watched.now.champion.contract.read([row])) for row in rows])
            while rest and core.shadowing:  # noqa: ASYNC110 - nobody tells when it is done
                await asyncio.sleep(rest)
            return [each[0] for each in told]

        return asyncio.run(ask())

    def records_by_id(self) -> dict[str, dict[str, Any]]:
        """Give each prediction by its id."""
        return {
            f"{path.parent.name}-{path.name}-{place:08x}": msgspec.json.decode(line.row)
            for path in (self.folder / "ledger").glob("*/0*")
            for place, line in ledger.lines(path)
        }

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return [r for p in (self.folder / "ledger").glob("*/0*") for r in ledger.rows(p) if r["kind"] == kind]


@pytest.fixture
def two(built: Workspace, tmp_path: Path) -> Iterator[tuple[Serving, Bundle, Bundle]]:
    one = Bundle.open(built.data / "bundle")
    other = another(one, tmp_path / "other", threshold=0.9)
    serving = Serving(tmp_path / "serving", [one, other], built)
    yield serving, one, other
    serving.records.close()


def test_a_share_of_the_keys_is_the_challengers_and_stays_its(two: tuple[Serving, Bundle, Bundle]) -> None:
    serving, one, other = two
    serving.say(Traffic(one.digest, 1, challenger=other.digest, share=0.3, salt="s"))
    watched = serving.watched()
    first, second = serving.answers(watched, 200), serving.answers(watched, 200)
    assert [told.variant for told in first] == [told.variant for told in second]
    challenged = [told for told in first if told.variant == "challenger"]
    assert 30 < len(challenged) < 90
    assert {told.bundle for told in challenged} == {other.digest}
    assert {told.threshold for told in challenged} == {0.9}
    assert {row["variant"] for row in serving.rows("prediction")} == {"champion", "challenger"}
    assert {row["generation"] for row in serving.rows("prediction")} == {1}


def broken(how: str) -> Callable[[Sequence[bytes]], list[float]]:
    """Make a variant's model fail."""
    if how == "raises":

        def run(_: Sequence[bytes]) -> list[float]:
            msg = "the model is broken"
            raise RuntimeError(msg)

        return run
    return lambda inputs: [float("nan")] * len(inputs)


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_challenger_that_fails_is_answered_for_and_cut_off(
    two: tuple[Serving, Bundle, Bundle], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    serving, one, other = two
    serving.say(Traffic(one.digest, 1, challenger=other.digest, share=1.0, salt="s"))
    watched = serving.watched()
    challenger = watched.now.challenger
    assert challenger is not None
    scores = [told.score for told in serving.answers(watched, 8)]
    works = challenger.scores
    monkeypatch.setattr(challenger, "scores", broken(how))
    for _ in range(7):
        told = serving.answers(watched, 8)
        assert [(each.variant, each.bundle) for each in told] == [("champion", one.digest)] * 8
        assert [each.score for each in told] == scores  # the two differ in what they decide alone
    assert not challenger.breaker.closed()
    assert serving.counts.of("failures_total", "challenger") == 5
    monkeypatch.setattr(challenger, "scores", works)
    assert serving.answers(watched, 1)[0].variant == "champion"
    challenger.breaker._until = 0.0  # noqa: SLF001 - its time is over
    assert serving.answers(watched, 1)[0].variant == "challenger"


@pytest.mark.parametrize("how", ["works", "raises", "nan"])
def test_a_shadow_is_logged_and_changes_nothing(
    two: tuple[Serving, Bundle, Bundle], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    serving, one, other = two
    serving.say(Traffic(one.digest, 1, shadow=other.digest))
    watched = serving.watched()
    shadow = watched.now.shadow
    assert shadow is not None
    if how != "works":
        monkeypatch.setattr(shadow, "scores", broken(how))
    told = serving.answers(watched, 40, rest=0.01)
    assert {each.variant for each in told} == {"champion"}
    said = {row["prediction"]: row for row in serving.rows("shadow")}
    assert set(said) == {each.id for each in told}
    assert {row["bundle"] for row in said.values()} == {other.digest}
    expected = [each.score if how == "works" else None for each in told]
    assert [said[each.id]["score"] for each in told] == expected


def test_what_changes_is_taken_up_and_what_makes_no_sense_is_not(two: tuple[Serving, Bundle, Bundle]) -> None:
    serving, one, other = two
    with pytest.raises(TrafficError, match="`tandem publish` and `tandem sync` write it"):
        serving.watched()
    serving.say(Traffic(one.digest, 1))
    watched = serving.watched()
    before = watched.now
    for bad in (Traffic("none", 2), Traffic(one.digest, 2, key=("no such field",)), Traffic(one.digest, 2, shadow="x")):
        serving.say(bad)
        watched.look(serving.moment)
        assert watched.now is before
    assert serving.counts.of("reload_failures_total") == 3
    serving.say(Traffic(other.digest, 2))
    watched.look(serving.moment)
    assert watched.now.champion.digest == other.digest
    serving.say(Traffic(one.digest, 3, challenger=other.digest))
    loaded = watched.now.champion
    watched.look(serving.moment)
    assert watched.now.challenger is loaded  # nothing is loaded twice


def test_a_challenger_of_another_contract_is_refused(two: tuple[Serving, Bundle, Bundle], tmp_path: Path) -> None:
    serving, one, _ = two
    folder = shutil.copytree(one.folder, tmp_path / "wider")
    contract = one.json("contract.json")
    contract["properties"]["town"]["maxLength"] = 30
    (folder / "contract.json").write_text(json.dumps(contract))
    seal(folder, one.annotations)
    wider = Bundle.open(folder)
    shutil.copytree(folder, serving.folder / "bundles" / wider.digest)
    serving.say(Traffic(one.digest, 1, challenger=wider.digest))
    with pytest.raises(TrafficError, match="takes other requests than the champion"):
        serving.watched()


def test_a_client_that_leaves_takes_nobodys_id_along(two: tuple[Serving, Bundle, Bundle]) -> None:
    serving, one, _ = two
    serving.say(Traffic(one.digest, 1))
    watched = serving.watched()

    async def ask() -> list[Answer]:
        core = Core(watched, lambda: serving.moment, Memory(serving.records, "process"), serving.counts)
        rows = [EXAMPLE | {"parcel": f"P{number:06d}"} for number in range(3)]
        asking = [asyncio.ensure_future(core.answer(watched.now.champion.contract.read([row]))) for row in rows]
        await asyncio.sleep(0)
        asking[1].cancel()
        told = await asyncio.gather(asking[0], asking[2])
        return [each[0] for each in told]

    told = asyncio.run(ask())
    parcels = {name: row["request"]["parcel"] for name, row in serving.records_by_id().items()}
    assert [parcels[each.id] for each in told] == ["P000000", "P000002"]


@pytest.mark.parametrize("how", ["raises", "nan"])
def test_a_champion_that_fails_leaves_nobody_waiting(
    two: tuple[Serving, Bundle, Bundle], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    serving, one, _ = two
    serving.say(Traffic(one.digest, 1))
    watched = serving.watched()
    monkeypatch.setattr(watched.now.champion, "scores", broken(how))
    with pytest.raises(Refused, match="the model failed") as told:
        serving.answers(watched, 3)
    assert told.value.status == 500
    assert serving.counts.of("requests_total") == 0


def test_what_was_read_by_one_state_is_answered_from_it(two: tuple[Serving, Bundle, Bundle]) -> None:
    serving, one, other = two
    serving.say(Traffic(one.digest, 1))
    watched = serving.watched()

    async def ask() -> list[list[Answer]]:
        core = Core(watched, lambda: serving.moment, Memory(serving.records, "process"), serving.counts)
        rows = watched.now.champion.contract.read([EXAMPLE])
        before = asyncio.ensure_future(core.answer(rows))
        await asyncio.sleep(0)
        serving.say(Traffic(other.digest, 2))
        watched.look(serving.moment)
        return list(await asyncio.gather(before, core.answer(rows)))

    ((first,), (second,)) = asyncio.run(ask())
    assert (first.bundle, second.bundle) == (one.digest, other.digest)
    assert [row["generation"] for row in serving.rows("prediction")] == [1, 2]


def test_ticks_are_taken_up_as_they_come(built: Workspace, tmp_path: Path) -> None:
    bundle = Bundle.open(built.data / "bundle")
    known = Knowledge(load_problem("parcels"), built.data / "facts", bundle.spec.grid, bundle.as_of)
    write_due(dataclasses.replace(known, until=bundle.as_of - timedelta(hours=1)), tmp_path, 2)
    answering = Answering(bundle.folder, tmp_path, bundle.as_of)
    (early,) = answering.ask([EXAMPLE])
    assert early.stale
    assert answering.counts.of("stale_total") == 1
    write_due(known, tmp_path, 8)
    answering.watched.look(bundle.as_of)
    (now,) = answering.ask([EXAMPLE])
    assert not now.stale
    assert answering.counts.of("stale_total") == 1
    assert now.tick > early.tick
