"""What was read is not read again, and a change makes again what it touches and nothing else."""

import json

import pytest
from conftest import Workspace
from ingested import Raw, digest, forget, relock, report_of, run_in, state_of


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
