"""Raw files become facts by known date, each pointing at its raw line; a fact is said once, a correction is one more."""

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import PARCELS, Workspace
from ingested import Raw, delivered, digest, facts_of, relock, report_of, state_of
from problems.parcels import contracts
from problems.parcels.problem import PROBLEM
from raw_parcels import TOWNS, write_events

from tandem.errors import ProblemError
from tandem.landing import Pins


def test_facts_are_in_files_by_the_month_in_which_they_became_known(ingested: Workspace) -> None:
    files = sorted((ingested.data / "facts").rglob("*.parquet"))
    assert {file.parent.name for file in files} == set(contracts.FACTS)
    for file in files:
        known = pl.read_parquet(file)["known_at"]
        assert set(known.dt.strftime("%Y-%m")) == {file.stem}
        assert known.is_sorted()


def test_a_fact_points_at_its_raw_line(ingested: Workspace) -> None:
    lines: dict[str, list[dict[str, Any]]] = {}
    for name in ("orders", "events"):
        for pin in Pins.load(ingested.lock).of("parcels", name):
            raw = ingested.settings.landing / pin.sha256
            text = raw.read_text().splitlines() if name == "events" else []
            lines[raw.name] = [json.loads(line) for line in text] or pl.read_parquet(raw).to_dicts()
    for kind, status in (("scanned", "scan"), ("delivered", "delivered"), ("lost", "lost")):
        for fact in facts_of(ingested, kind).iter_rows(named=True):
            line = lines[fact["landing"]][fact["row"] - 1]
            assert [line["parcel"], line["courier"], line["status"]] == [fact["parcel"], fact["courier"], status]
            assert datetime.fromisoformat(line["at"].rstrip("Z")) == fact["known_at"] == fact["event_at"]
    for fact in facts_of(ingested, "ordered").iter_rows(named=True):
        line = lines[fact["landing"]][fact["row"] - 1]
        assert (line["parcel"], line["weight_g"], line["ordered_at"]) == (
            fact["parcel"],
            fact["weight_g"],
            fact["known_at"],
        )
        assert TOWNS[line["depot"]] == fact["town"]


def test_all_that_landed_is_kept_whatever_the_day(ingested: Workspace) -> None:
    assert facts_of(ingested, "delivered")["known_at"].max() > ingested.params.as_of  # type: ignore[operator]
    before = ingested.files()
    later = replace(ingested, params=ingested.params.model_copy(update={"as_of": datetime(2024, 2, 2)}))  # noqa: DTZ001
    later.run("ingest")
    assert later.files() == before


def test_what_is_said_twice_is_one_fact(ingested: Workspace, tmp_path: Path) -> None:
    before = report_of(ingested)["repeated"]["delivered"]
    for name, times in (("one", 1), ("two", 2)):
        ingested.land("events", write_events(tmp_path / f"{name}.jsonl", [delivered("2024-06-01T00:00:00Z")] * times))
    ingested.run("ingest")
    found = facts_of(ingested, "delivered").filter(pl.col("known_at") == datetime(2024, 6, 1))  # noqa: DTZ001
    assert found.height == 1
    assert found["landing"].item() == min(digest(tmp_path / f"{name}.jsonl") for name in ("one", "two"))
    assert found["row"].item() == 1
    assert report_of(ingested)["repeated"]["delivered"] == before + 2


def test_a_correction_is_one_more_fact(ingested: Workspace, tmp_path: Path) -> None:
    kept = ingested.files("facts")
    ingested.land("events", write_events(tmp_path / "later.jsonl", [delivered("2024-06-01T00:00:00Z")]))
    ingested.run("ingest")
    after = ingested.files("facts")
    assert {name: after[name] for name in kept} == kept
    assert after.keys() - kept.keys() == {"facts/delivered/2024-06.parquet"}


def test_a_days_batch_is_closed_when_later_days_arrive(ingested: Workspace, tmp_path: Path) -> None:
    before = report_of(ingested)["sources"]["events"]["batches"]
    last = datetime.fromisoformat(max(before)) + timedelta(days=1)
    ingested.land("events", write_events(tmp_path / "later.jsonl", [delivered(f"{last:%Y-%m-%dT%H:%M:%SZ}")]))
    ingested.run("ingest")
    after = report_of(ingested)["sources"]["events"]["batches"]
    assert after == before | {f"{last:%Y-%m-%d}": {"delivered": 1}}


def test_two_lookup_tables_that_say_the_same_change_no_fact(ingested: Workspace, raw: Raw, tmp_path: Path) -> None:
    before = facts_of(ingested, "ordered")
    (tmp_path / "again.csv").write_text(raw[0][1].read_text() + "M1,Munich,Europe/Berlin\n")
    ingested.land("depots", tmp_path / "again.csv")
    ingested.run("ingest")
    assert facts_of(ingested, "ordered").equals(before)
    counts = report_of(ingested)["sources"]["orders"]["landings"].values()
    assert sorted(each["ordered"]["rows"] for each in counts) == [1890, 2018]


def test_a_lookup_table_that_was_corrected_is_looked_up_again(ingested: Workspace, raw: Raw, tmp_path: Path) -> None:
    assert "P900002" not in facts_of(ingested, "ordered")["parcel"]
    former = next(file for source, file in raw if source == "depots")
    (tmp_path / "corrected.csv").write_text(former.read_text().replace('beyond",', 'beyond",Europe/Berlin'))
    relock(ingested, *(file for source, file in raw if source != "depots"))  # as docs/problem.md says
    ingested.land("depots", tmp_path / "corrected.csv")
    ingested.run("ingest")
    assert "P900002" in facts_of(ingested, "ordered")["parcel"]


def test_a_kind_that_never_happened_is_an_empty_file(landed: Workspace, raw: Raw, tmp_path: Path) -> None:
    relock(landed, *(file for source, file in raw if source != "events"))
    landed.land("events", write_events(tmp_path / "one.jsonl", [delivered("2024-06-01T00:00:00Z")]))
    landed.run("ingest")
    assert [file for file in landed.files("facts") if "lost" in file] == ["facts/lost/none.parquet"]
    assert facts_of(landed, "lost").schema == contracts.Lost.create_empty().schema
    assert facts_of(landed, "lost").is_empty()


@pytest.fixture
def facts_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the problem's facts that a test may spoil."""
    shutil.copytree(PARCELS, tmp_path / "parcels")
    monkeypatch.setitem(PROBLEM.__dict__, "folder", tmp_path / "parcels")
    return tmp_path / "parcels" / "facts"


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select nonsense from events", r"problems/parcels/facts/lost\.sql does not run: .*nonsense"),
        ("select parcel from events", "lost: .*missing columns"),
        (
            'select * replace (1 as parcel), "at" as event_at, "at" as known_at from events',
            "lost: .*'parcel', got: Int32",
        ),
    ],
)
def test_facts_that_do_not_fit_their_contract_are_told(
    ingested: Workspace, facts_sql: Path, sql: str, told: str
) -> None:
    (facts_sql / "lost.sql").write_text(sql)
    before = state_of(ingested)
    with pytest.raises(ProblemError, match=rf"(?s){told}"):
        ingested.run("ingest")
    assert state_of(ingested) == before
