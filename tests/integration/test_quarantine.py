"""What is refused is kept, told and counted: rows in are accepted and quarantined, always."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
from conftest import Workspace
from ingested import Raw, digest, facts_of, forget, report_of
from problems.parcels import contracts
from problems.parcels.problem import PROBLEM
from raw_parcels import write_events

from tandem.errors import ProblemError
from tandem.landing import Pins

REFUSED = {
    ("orders", "P900000"): "weight_g|min",
    ("orders", "P900001"): "customer|regex",
    ("orders", "nonsense"): "parcel|regex",
    ("ordered", "P900002"): "promised_at|nullability",
    ("ordered", "P900003"): "promised_after_ordered",
    ("orders", "P900004"): "primary_key",
    ("events", "teleported"): "status|regex",
    ("events", "scan"): "a_scan_is_somewhere",
    ("events", None): "at|nullability",
    ("scanned", "P000001"): "instants_are_of_this_era",
}
"""Contract, and what tells the row: its rules. All broken rows that raw_parcels.py makes."""


def test_a_row_that_breaks_a_contract_is_in_quarantine_with_its_rules(ingested: Workspace) -> None:
    found = {}
    for file in sorted((ingested.data / "quarantine").iterdir()):
        for row in pl.read_parquet(file).iter_rows(named=True):
            values = json.loads(row["values"])
            told = values["parcel"]
            if row["contract"] == "events":
                told = values["status"] if values["at"] and values["town"] is None else None
            found[row["contract"], told] = row["rules"]
    assert found == REFUSED


def test_a_quarantined_row_points_at_its_raw_line(ingested: Workspace) -> None:
    for row in pl.read_parquet(ingested.data / "quarantine" / "events.parquet").iter_rows(named=True):
        line = json.loads((ingested.settings.landing / row["landing"]).read_text().splitlines()[row["row"] - 1])
        assert json.loads(row["values"])["parcel"] == line["parcel"]


def test_a_row_may_break_several_rules(ingested: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_events(tmp_path / "bad.jsonl", [{"parcel": "x", "status": "y", "at": None}])
    ingested.land("events", file)
    said = f"{file}: events.parcel|regex is broken 1 times; what breaks it will be in quarantine"
    assert said in caplog.messages  # one who lands a file sees it there and then
    ingested.run("ingest")
    rules = pl.read_parquet(ingested.data / "quarantine" / "events.parquet")["rules"]
    assert "at|nullability,parcel|regex,status|regex" in rules.to_list()


def test_the_report_counts_by_batch_source_and_rule(ingested: Workspace) -> None:
    report = report_of(ingested)
    assert list(report["sources"]) == ["depots", "orders", "events"]
    for source in PROBLEM.sources:
        counted = report["sources"][source.name]
        quarantined = pl.read_parquet(ingested.data / "quarantine" / f"{source.name}.parquet")
        assert sorted(counted["landings"]) == [p.sha256 for p in Pins.load(ingested.lock).of("parcels", source.name)]
        for landing, by_contract in counted["landings"].items():
            assert list(by_contract) == [source.name, *source.kinds]
            for contract, counts in by_contract.items():
                refused = quarantined.filter(landing=landing, contract=contract)
                assert counts["quarantined"] == refused.height
                assert counts["rows"] == counts["accepted"] + counts["quarantined"]
                assert counts["rules"] == Counter(rule for rules in refused["rules"] for rule in rules.split(","))
        batches = {(day, kind): n for day, kinds in counted["batches"].items() for kind, n in kinds.items()}
        known = [(at.date().isoformat(), kind) for kind in source.kinds for at in facts_of(ingested, kind)["known_at"]]
        assert batches == Counter(known)


def test_every_raw_row_is_accounted_for(ingested: Workspace, raw: Raw) -> None:
    report = report_of(ingested)
    for source, file in raw:
        rows = len(pl.read_parquet(file)) if source == "orders" else len(file.read_text().splitlines())
        counts = report["sources"][source]["landings"][digest(file)]
        assert counts[source]["rows"] == rows - (source == "depots")  # its heading
        # each event is of one kind, each order is one
        assert sum(counts[kind]["rows"] for kind in PROBLEM.source(source).kinds) in {0, counts[source]["accepted"]}
    for kind in PROBLEM.kinds:
        accepted = sum(
            c[kind]["accepted"] for s in report["sources"].values() for c in s["landings"].values() if kind in c
        )
        assert accepted == report["repeated"][kind] + facts_of(ingested, kind).height


def swallowing(contract: type[dy.Schema], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a contract lose its last accepted row, as a bug would."""
    whole = contract.filter

    def lossy(frame: pl.DataFrame) -> tuple[pl.DataFrame, Any]:
        accepted, failure = whole(frame)
        return accepted.head(-1), failure

    monkeypatch.setattr(contract, "filter", lossy)


@pytest.mark.parametrize("name", ["events", "delivered"])
def test_a_row_lost_on_the_way_fails_the_run(ingested: Workspace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(ingested)
    before = ingested.files()
    with monkeypatch.context() as patch:
        swallowing((contracts.SOURCES | contracts.FACTS)[name], patch)
        with pytest.raises(ProblemError, match=rf"{name}: .* do not add up"):
            ingested.run("ingest")
    assert ingested.files() == before
    ingested.run("ingest")  # the part that lacks a row was not kept
    assert ingested.files() == before


def test_a_cached_part_must_add_up_on_every_run(ingested: Workspace) -> None:
    before = ingested.files()
    for part in (ingested.settings.cache / "ingest").iterdir():
        kept = pl.read_parquet(part / "quarantine.parquet")
        kept.head(-1).write_parquet(part / "quarantine.parquet")
    with pytest.raises(ProblemError, match="do not add up"):
        ingested.run("ingest")
    assert ingested.files() == before
