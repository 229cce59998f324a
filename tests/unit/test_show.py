"""What is printed of the registry: every version with what it is, and the whole chain behind one."""

from datetime import datetime, timedelta

import pytest

from tandem.clock import wall_now
from tandem.registry import State, Version
from tasks.show import lineage_tree, models_table

A, B = "a" * 64, "b" * 64
DAY = datetime(2024, 1, 1)  # noqa: DTZ001


def version(number: int, digest: str, age: timedelta, *, dirty: bool = False) -> Version:
    return Version(
        version=number,
        digest=digest,
        as_of=DAY,
        created=wall_now() - age,
        run="r1",
        commit="c0ffee00c0ffee00",
        dirty=dirty,
        attested=False,
        figures={"auc": 0.75, "log_loss": None},
        proposal=None,
    )


def test_versions_are_shown_with_what_they_are_and_their_age() -> None:
    versions = [version(1, A, timedelta(days=3)), version(2, B, timedelta(hours=2), dirty=True)]
    heading, *rows = models_table(versions, State(champion=A, shadow=B)).splitlines()
    assert heading.split()[:3] == ["version", "digest", "as"]
    assert rows[0].split() == ["1", A[:12], "2024-01-01", "champion", "0.7500", "3.0", "d", "c0ffee00"]
    assert rows[1].split()[3:] == ["shadow", "0.7500", "2.0", "h", "c0ffee00", "and", "changes"]
    assert models_table([], State()).startswith("no version yet")


@pytest.mark.parametrize("dirty", [False, True])
def test_the_chain_goes_down_to_the_raw_files(*, dirty: bool) -> None:
    trying, champion, gone = (
        {"champion": None, "challenger": None, "shadow": None, "share": share, "generation": number} | roles
        for number, share, roles in ((2, 0.1, {"challenger": A}), (3, 0.0, {"champion": A}), (4, 0.0, {"champion": B}))
    )
    none = trying | {"challenger": None, "generation": 1}
    found = {
        "version": 3,
        "bundle": A,
        "is": ["champion"],
        "as_of": "2024-01-01",
        "run": "r1",
        "commit": "c0ffee",
        "dirty": dirty,
        "source": f"sha256:{B}",
        "lock": "l0ck",
        "params": {"problem": "shop", "tune": {"trials": 5, "depth": [3, 4]}},
        "stages": {"facts/a.parquet": "f1", "facts/b.parquet": "f2", "tune/trials.json": "t1"},
        "landing": {"orders": ["0123", "4567"]},
        "attested": [
            {"name": "e1", "as": "approval", "trusted": True, "key": "k1", "by": "ada", "at": "", "reason": "fair"},
            {"name": "e2", "as": None, "trusted": False, "reason": "it is not signed"},
        ],
        "said": [
            {"wall": "2024-01-02T03:04:05.6", "event": "publish", "by": "ada"},
            {
                "wall": "2024-01-02T03:04:05.6",
                "event": "promote",
                "by": "ada",
                "reason": "try",
                "before": none,
                "state": trying,
            },
            {
                "wall": "2024-01-02T03:04:05.6",
                "event": "promote",
                "by": "bob",
                "reason": "better",
                "before": trying,
                "state": champion,
            },
            {
                "wall": "2024-01-02T03:04:05.6",
                "event": "promote",
                "by": "bob",
                "reason": "new",
                "before": champion,
                "state": champion,
            },
            {
                "wall": "2024-01-02T03:04:05.6",
                "event": "promote",
                "by": "ada",
                "reason": "old",
                "before": champion,
                "state": gone,
            },
        ],
    }
    lines = lineage_tree(found).splitlines()
    assert lines[0] == "version 3  champion"
    assert f"  source          {B}" in lines
    assert [line.split(maxsplit=1) for line in lines if line.startswith(("    problem", "    tune."))] == [
        ["problem", "shop"],
        ["tune.trials", "5"],
        ["tune.depth", "[3, 4]"],
    ]
    assert "    e1  approval by ada, signed by k1: fair" in lines
    assert "    e2  does not count: it is not signed" in lines
    assert ("and changes" in next(line for line in lines if "commit" in line)) == dirty
    assert [line.split() for line in lines if line.startswith("    facts")] == [
        ["facts", "2", "files,", "the", "first", "f1"]
    ]
    assert [line.split()[1] for line in lines if line.startswith("    orders")] == ["0123", "4567"]
    assert lines[-5:] == [
        "    2024-01-02T03:04:05  publish by ada",
        "    2024-01-02T03:04:05  promote by ada, challenger with a share of 0.1 in generation 2: try",
        "    2024-01-02T03:04:05  promote by bob, champion in generation 3: better",
        "    2024-01-02T03:04:05  promote by bob, champion still in generation 3: new",
        "    2024-01-02T03:04:05  promote by ada, without traffic in generation 4: old",
    ]
