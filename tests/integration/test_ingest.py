"""Raw files become facts by known date, each pointing at its raw line; what is refused is kept, told and counted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl
import pytest
import yaml
from conftest import PARCELS, ROOT, Workspace, workspace_at
from problems.parcels import contracts
from problems.parcels.problem import PROBLEM
from raw_parcels import TOWNS, write_events

import tasks.ingest
from tandem.contracts import KEY, PERSONAL, json_schema, marked
from tandem.errors import ProblemError, SourceError
from tandem.landing import Pins
from tandem.params import Params
from tandem.problem import Source
from tasks.ingest import parts_of
from tasks.reading import read_raw

Raw = list[tuple[str, Path]]


def report_of(workspace: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((workspace.data / "reports" / "ingest.json").read_text())
    return found


def facts_of(workspace: Workspace, kind: str) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted((workspace.data / "facts" / kind).iterdir()))


def state_of(workspace: Workspace) -> dict[str, bytes]:
    """All files of a workspace: data, lock, landing and cache."""
    paths = (path for path in workspace.root.rglob("*") if path.is_file())
    return {path.relative_to(workspace.root).as_posix(): path.read_bytes() for path in paths}


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def forget(workspace: Workspace) -> None:
    shutil.rmtree(workspace.settings.cache)


def relock(workspace: Workspace, *files: Path) -> None:
    """Leave the pins of these raw files and no others."""
    digests = {digest(file) for file in files}
    Pins(pins=tuple(pin for pin in Pins.load(workspace.lock).pins if pin.sha256 in digests)).save(workspace.lock)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The raw files that are read from here on, each by its source and digest."""
    seen: list[str] = []

    def seeing(path: Path, source: Source, contract: type[dy.Schema]) -> pl.DataFrame:
        seen.append(f"{source.name} {path.name}")
        return read_raw(path, source, contract)

    monkeypatch.setattr(tasks.ingest, "read_raw", seeing)
    return seen


@pytest.fixture
def ingested(landed: Workspace) -> Workspace:
    landed.run("ingest")
    return landed


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


def test_a_row_may_break_several_rules(ingested: Workspace, tmp_path: Path) -> None:
    ingested.land("events", write_events(tmp_path / "bad.jsonl", [{"parcel": "x", "status": "y", "at": None}]))
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


def test_again_nothing_is_read_and_nothing_changes(ingested: Workspace, reads: list[str]) -> None:
    before = state_of(ingested)
    ingested.run("ingest")
    assert reads == []
    assert state_of(ingested) == before


def test_a_file_that_landed_is_not_read_again_by_ingest(landed: Workspace, reads: list[str]) -> None:
    landed.run("ingest")
    assert reads == []


def test_of_one_more_landed_file_only_its_part_is_read(landed: Workspace, raw: Raw, reads: list[str]) -> None:
    pins = landed.lock.read_bytes()
    forget(landed)
    relock(landed, *(file for _, file in raw if file.name != "spring.parquet"))
    landed.run("ingest")
    before = report_of(landed)["sources"]
    reads.clear()
    landed.lock.write_bytes(pins)
    landed.run("ingest")
    depots, spring = (next(file for _, file in raw if file.name == name) for name in ("depots.csv", "spring.parquet"))
    assert reads == [f"depots {digest(depots)}", f"orders {digest(spring)}"]  # where the facts look a zone up
    after = report_of(landed)["sources"]
    assert after["events"] == before["events"]
    closed = [day for day in before["orders"]["batches"] if day < "2024-03-17"]
    assert closed
    assert all(after["orders"]["batches"][day] == before["orders"]["batches"][day] for day in closed)


def run_in(workspace: Workspace, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a workspace that is a copy of the tree: its code and not this one's, which alone is measured."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    own |= {"PYTHONPATH": str(workspace.root), "TANDEM_TRACKING_URI": ""}
    command = (sys.executable, *words)
    return subprocess.run(command, cwd=workspace.root, env=own, capture_output=True, text=True, check=False)


def made_by_running(workspace: Workspace) -> list[str]:
    """Run ingest on the workspace's own code, and name the sources of which parts were made, one for each raw file."""
    cache = workspace.settings.cache / "ingest"
    before = set(cache.iterdir())
    done = run_in(workspace, "-m", "flows.ingest")
    assert done.returncode == 0, done.stderr
    new = set(cache.iterdir()) - before
    return sorted(next(iter(json.loads((part / "counts.json").read_text()))) for part in new)


CHANGES: dict[str, tuple[str, str, str, list[str]]] = {
    "nothing": ("problems/parcels/contracts.py", "", "", []),
    "a comment": ("problems/parcels/contracts.py", "class Events", "# what happens\nclass Events", []),
    "a request": ("problems/parcels/contracts.py", "the depot's town", "its town", []),
    "the contract of a source": ("problems/parcels/contracts.py", "|lost)", "|lost|found)", ["events"] * 2),
    "the contract of a kind": ("problems/parcels/contracts.py", '("event_at")', '("known_at")', ["orders"] * 2),
    "what two contracts use": ("problems/parcels/contracts.py", "c[0-9]{2}", "c[0-9]{2,3}", ["events", "orders"] * 2),
    "the facts of one kind": ("problems/parcels/facts/lost.sql", "status = ", "true and status = ", ["events"] * 2),
    "what others look up": (
        "problems/parcels/contracts.py",
        "town = dy.String(nullable=False)\n    zone",
        "town = dy.String(nullable=True)\n    zone",
        ["depots", "orders", "orders"],
    ),
    "how a source is read": ("problems/parcels/problem.py", '"events", "jsonl"', '"events", "jsonl", null="-"', ["events"] * 2),
    "a view": ("problems/parcels/views/courier.pace.sql", "-- grain", "-- the grain", []),
    "the code": ("tasks/reading.py", "import csv", "import csv\n", ["depots", "events", "events", "orders", "orders"]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_again_what_it_touches_and_nothing_else(workspace: Workspace, change: str) -> None:
    file, before, after, made = CHANGES[change]
    path = workspace.root / file
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after, 1) if before else path.read_text())
    assert made_by_running(workspace) == sorted(made)


def test_any_order_of_arrival_gives_the_same_bytes(landed: Workspace, raw: Raw, tmp_path: Path) -> None:
    landed.run("ingest")
    expected = landed.files() | {"lock": landed.lock.read_bytes()}
    first, *others = raw
    for number, order in enumerate(permutations(others)):
        arrived = workspace_at(tmp_path / str(number))
        shutil.copytree(landed.settings.cache, arrived.settings.cache)
        for source, file in (first, *order):
            arrived.land(source, file)
        if number % 6 == 0:
            forget(arrived)
        arrived.root.mkdir(exist_ok=True)
        arrived.run("ingest")
        assert arrived.files() | {"lock": arrived.lock.read_bytes()} == expected


def test_a_workspace_that_ran_in_between_ends_with_the_same_bytes(
    ingested: Workspace, raw: Raw, tmp_path: Path
) -> None:
    grown = workspace_at(tmp_path / "grown")
    grown.root.mkdir()
    for number, (source, file) in enumerate([raw[0], raw[4], raw[2], raw[1], raw[3]]):
        grown.land(source, file)
        if number > 1:
            grown.run("ingest")
    assert grown.files() == ingested.files()


def test_pins_in_another_order_give_the_same_bytes(ingested: Workspace) -> None:
    before = ingested.files()
    Pins(pins=Pins.load(ingested.lock).pins[::-1]).save(ingested.lock)
    ingested.run("ingest")
    assert ingested.files() == before


def test_tracked_outputs_of_the_default_problem_stay_under_200_files() -> None:
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    assert "data/flights/facts" in {out["path"] for out in stages["ingest"]["outs"]}
    assert sum(out.get("nfiles", 1) for stage in stages.values() for out in stage["outs"]) < 200


def delivered(at: str) -> dict[str, object]:
    return {"parcel": "P000001", "courier": "c01", "status": "delivered", "signed": True, "at": at}


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


def test_two_lookup_tables_that_say_the_same_change_no_fact(ingested: Workspace, raw: Raw, tmp_path: Path) -> None:
    before = facts_of(ingested, "ordered")
    (tmp_path / "again.csv").write_text(raw[0][1].read_text() + "M1,Munich,Europe/Berlin\n")
    ingested.land("depots", tmp_path / "again.csv")
    ingested.run("ingest")
    assert facts_of(ingested, "ordered").equals(before)
    counts = report_of(ingested)["sources"]["orders"]["landings"].values()
    assert sorted(each["ordered"]["rows"] for each in counts) == [1890, 2018]


def test_a_lookup_table_that_knows_more_is_looked_up_again(ingested: Workspace, tmp_path: Path) -> None:
    assert "P900002" not in facts_of(ingested, "ordered")["parcel"]
    (tmp_path / "more.csv").write_text("depot,town,zone\nX9,Nowhere,Europe/Berlin\n")
    ingested.land("depots", tmp_path / "more.csv")
    ingested.run("ingest")
    assert "P900002" in facts_of(ingested, "ordered")["parcel"]


def test_a_kind_that_never_happened_is_an_empty_file(landed: Workspace, raw: Raw, tmp_path: Path) -> None:
    relock(landed, *(file for source, file in raw if source != "events"))
    landed.land("events", write_events(tmp_path / "one.jsonl", [delivered("2024-06-01T00:00:00Z")]))
    landed.run("ingest")
    assert [file for file in landed.files("facts") if "lost" in file] == ["facts/lost/none.parquet"]
    assert facts_of(landed, "lost").schema == contracts.Lost.create_empty().schema
    assert facts_of(landed, "lost").is_empty()


def gone(workspace: Workspace, landed: Path) -> None:
    landed.unlink()
    pins = Pins.load(workspace.lock).pins
    Pins(pins=tuple(pin.model_copy(update={"fetch": "file:gone"}) for pin in pins)).save(workspace.lock)


def cut(_: Workspace, landed: Path) -> None:
    landed.chmod(0o644)
    landed.write_bytes(landed.read_bytes()[:-1])


def altered(_: Workspace, landed: Path) -> None:
    landed.chmod(0o644)
    landed.write_bytes(landed.read_bytes().replace(b"scan", b"scam", 1))


@pytest.mark.parametrize(
    ("harm", "told"),
    [(gone, "neither the landing nor gone holds it"), (cut, "was damaged"), (altered, "was damaged")],
)
def test_a_file_that_the_landing_lost_stops_the_run(
    ingested: Workspace, raw: Raw, harm: Callable[[Workspace, Path], None], told: str
) -> None:
    name = digest(next(file for _, file in raw if file.name == "winter.jsonl"))
    harm(ingested, ingested.settings.landing / name)
    before = state_of(ingested)
    with pytest.raises(SourceError, match=rf"{name[:12]}.*{told}"):
        ingested.run("ingest")
    assert state_of(ingested) == before


BAD: dict[str, tuple[str, bytes, str]] = {
    "empty": ("events", b"", "the file is empty"),
    "cut": ("events", b'{"parcel": "P000001", "status": "lo', "line 1: it is not a JSON object"),
    "another column": ("events", b'{"parcel": "P000001", "why": 1}\n', "column 'why' is not in the contract"),
    "a type": ("events", json.dumps(delivered("soon")).encode(), "column 'at', line 1: 'soon' is not TIMESTAMP"),
    "an encoding": ("depots", DEPOTS := b"depot,town,zone\nK1,K\xf6ln,Europe/Berlin\n", "line 2: .*utf-8"),
    "no heading": ("depots", b"K1,Cologne,Europe/Berlin\n", "column 'depot' is missing"),
    "no rows": ("depots", b"depot,town,zone\n", "a heading and no rows"),
    "no Parquet": ("orders", b"PAR1 and so on", "(No magic bytes|too small)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_does_not_land(ingested: Workspace, tmp_path: Path, case: str) -> None:
    source, data, told = BAD[case]
    (tmp_path / "bad").write_bytes(data)
    before = state_of(ingested)
    with pytest.raises(SourceError, match=rf"bad \({source}\): .*{told}"):
        ingested.land(source, tmp_path / "bad")
    assert state_of(ingested) == before


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_that_was_pinned_all_the_same_changes_nothing(ingested: Workspace, case: str) -> None:
    source, data, told = BAD[case]
    pins = Pins.load(ingested.lock)
    bad = pins.of("parcels", source)[0].model_copy(
        update={"sha256": sha256(data).hexdigest(), "bytes": len(data), "known": None}
    )
    (ingested.settings.landing / bad.sha256).write_bytes(data)
    pins.with_pin(bad).save(ingested.lock)
    before = state_of(ingested)
    with pytest.raises(SourceError, match=rf"{bad.sha256} \({source}\): .*{told}"):
        ingested.run("ingest")
    assert state_of(ingested) == before


def test_a_truncated_zip_does_not_land(tmp_path: Path) -> None:
    flights = replace(workspace_at(tmp_path / "flights"), params=Params.load(ROOT / "params.yaml"))
    airports = tmp_path / "airports.csv"
    airports.write_text("faa,name,lat,lon,alt,tz,dst,tzone\nEWR,Newark,40.7,-74.2,18,-5,A,America/New_York\n")
    flights.land("airports", airports)
    whole = tmp_path / "flights.csv.zip"
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("flights.csv", os.urandom(5000).hex())
    whole.write_bytes(whole.read_bytes()[:-2000])
    before = state_of(flights)
    with pytest.raises(SourceError, match=r"flights\.csv\.zip \(flights\): it is not a whole zip file"):
        flights.land("flights", whole)
    assert state_of(flights) == before


def test_a_file_that_is_not_what_its_digest_says_is_not_cached(landed: Workspace, raw: Raw) -> None:
    with pytest.raises(SourceError, match=r"depots\.csv \(depots\): it was changed while it was read"):
        parts_of(PROBLEM.source("depots"), {"0" * 64: raw[0][1]}, {}, PROBLEM, landed.settings.cache / "other")
    assert not [path for path in (landed.settings.cache / "other").rglob("*") if path.is_file()]


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


KILLED = """
import os, signal, sys
left = int(sys.argv[1])
def count(event, args):
    global left
    writes = event == "open" and isinstance(args[1], str) and args[1][0] in "wxa"
    changes = writes or event in ("os.mkdir", "os.rename", "os.remove", "shutil.rmtree", "shutil.copyfile")
    if changes and os.getcwd() in os.path.abspath(str(args[0])):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
from flows.ingest import ingest
from tandem.params import Params
from tandem.settings import Settings
sys.addaudithook(count)
ingest(Params.load(), Settings.load())
print(-left)
"""
"""Ends itself by SIGKILL when it is about to change the folder for the n-th time; says how often it did if it lives."""


@pytest.fixture
def interrupted(workspace: Workspace, raw: Raw) -> tuple[Workspace, dict[str, bytes], dict[str, bytes]]:
    """A workspace with old facts and one more file pinned; the old files and those to come."""
    pins = workspace.lock.read_bytes()
    workspace.run("ingest")
    new = workspace.files()
    relock(workspace, *(file for _, file in raw if file.name != "spring.jsonl"))
    workspace.run("ingest")
    old = workspace.files()
    workspace.lock.write_bytes(pins)
    forget(workspace)
    return workspace, old, new


def visible(files: dict[str, bytes], below: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name.startswith(below)}


def test_killed_at_any_moment_it_leaves_nothing_half_written(
    interrupted: tuple[Workspace, dict[str, bytes], dict[str, bytes]], tmp_path: Path
) -> None:
    workspace, old, new = interrupted
    assert old != new
    start = tmp_path / "start"
    shutil.copytree(workspace.root / "data", start)
    whole = run_in(workspace, "-c", KILLED, "0")
    assert whole.returncode == 0, whole.stderr
    assert workspace.files() == new
    parts = cached(workspace)
    changes = int(whole.stdout)
    for number in range(1, changes + 1, max(1, changes // 6)):
        shutil.rmtree(workspace.root / "data")
        shutil.copytree(start, workspace.root / "data")
        forget(workspace)
        assert run_in(workspace, "-c", KILLED, str(number)).returncode == -signal.SIGKILL
        left = workspace.files()
        for output in ("facts/", "quarantine/", "reports/ingest.json"):
            assert visible(left, output) in (visible(old, output), visible(new, output), {})
        assert cached(workspace).items() <= parts.items()
        workspace.run("ingest")
        assert {name: data for name, data in workspace.files().items() if not name.startswith(".")} == new
        assert cached(workspace) == parts


def cached(workspace: Workspace) -> dict[str, dict[str, bytes]]:
    """The parts that the cache holds under their names."""
    folder = workspace.settings.cache / "ingest"
    parts = [part for part in folder.glob("*") if not part.name.startswith(".")]
    return {
        part.name: {file.relative_to(part).as_posix(): file.read_bytes() for file in part.rglob("*") if file.is_file()}
        for part in parts
    }


@pytest.mark.parametrize("contract", [*contracts.SOURCES.values(), *contracts.FACTS.values(), contracts.Request])
def test_marks_reach_the_json_schema(contract: type[dy.Schema]) -> None:
    properties = json_schema(contract)["properties"]
    for name, mark in (("key", KEY), ("personal", PERSONAL)):
        assert tuple(column for column, told in properties.items() if told.get(name)) == marked(contract, mark)


def test_the_customer_is_marked_personal_wherever_he_stands() -> None:
    schemas = [*contracts.SOURCES.values(), *contracts.FACTS.values(), contracts.Request]
    bearing = [schema for schema in schemas if "customer" in schema.columns()]
    assert len(bearing) == 3
    assert all(marked(schema, PERSONAL) == ("customer",) for schema in bearing)


def test_a_days_batch_is_closed_when_later_days_arrive(ingested: Workspace, tmp_path: Path) -> None:
    before = report_of(ingested)["sources"]["events"]["batches"]
    last = datetime.fromisoformat(max(before)) + timedelta(days=1)
    ingested.land("events", write_events(tmp_path / "later.jsonl", [delivered(f"{last:%Y-%m-%dT%H:%M:%SZ}")]))
    ingested.run("ingest")
    after = report_of(ingested)["sources"]["events"]["batches"]
    assert after == before | {f"{last:%Y-%m-%d}": {"delivered": 1}}
