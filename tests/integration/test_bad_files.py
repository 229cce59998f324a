"""A raw file that is lost or not what it should be is told, and what was there stays."""

import json
import os
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import ROOT, Workspace, workspace_at
from ingested import Raw, delivered, digest, state_of
from problems.parcels.problem import PROBLEM

from tandem.errors import SourceError
from tandem.landing import Pins
from tandem.params import Params
from tasks.ingest import parts_of


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
    "a word without end": ("depots", b"d" * 200_000, "line 1: field larger than field limit"),
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


def test_of_many_who_land_at_once_each_is_pinned(empty: Workspace, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.csv" for number in range(8)]
    for number, file in enumerate(files):
        file.write_text(f"depot,town,zone\nK{number},Cologne,Europe/Berlin\n")
    with ThreadPoolExecutor(len(files)) as pool:
        pins = list(pool.map(lambda file: empty.land("depots", file), files))
    assert set(Pins.load(empty.lock).pins) == set(pins)


def test_of_a_lookup_no_two_files_say_different_things(ingested: Workspace, raw: Raw, tmp_path: Path) -> None:
    first = next(file for _, file in raw if file.name == "depots.csv")
    same, other = tmp_path / "same.csv", tmp_path / "other.csv"
    same.write_text(first.read_text().replace("\n", "\r\n"))
    other.write_text(first.read_text().replace("Europe/Berlin", "Asia/Tokyo", 1))
    ingested.land("depots", same)
    before = state_of(ingested)
    with pytest.raises(SourceError, match=rf"^depots: of depot '\w+' ({digest(first)}|other.csv) and .* say diff"):
        ingested.land("depots", other)
    assert state_of(ingested) == before
    (ingested.settings.landing / digest(other)).write_bytes(other.read_bytes())
    pin = Pins.load(ingested.lock).of("parcels", "depots")[0]
    Pins.load(ingested.lock).with_pin(
        pin.model_copy(update={"sha256": digest(other), "bytes": other.stat().st_size})
    ).save(ingested.lock)
    with pytest.raises(SourceError, match=r"^depots: of depot .* take one of them out of data/sources\.lock$"):
        ingested.run("ingest")


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
