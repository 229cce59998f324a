"""The same landing gives the same bytes, in whatever order and however often files came."""

import shutil
from itertools import permutations
from pathlib import Path

import yaml
from conftest import ROOT, Workspace, workspace_at
from ingested import Raw, forget

from tandem.landing import Pins


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
