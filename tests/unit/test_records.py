"""A worker's records: found by their ids by whomever, whole after a kill, a loss of power and a full disk."""

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tandem import ledger
from tandem.errors import LedgerError
from tandem.serving.memory import Durability, Memory
from tandem.serving.records import Label, Records, find, recover, segments

NOW = datetime(2024, 4, 15, tzinfo=UTC)


def label(number: int = 0) -> Label:
    return Label(world=NOW.replace(tzinfo=None), wall=NOW, problem="p", label=True, prediction=f"{number}")


Open = Callable[..., Records]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Begin to write; all is closed in the end."""
    made: list[Records] = []

    def begin(folder: Path = tmp_path, **how: Any) -> Records:  # noqa: ANN401
        made.append(Records(folder, **how))
        return made[-1]

    yield begin
    for records in made:
        records.close()


def test_a_record_is_found_by_its_id_whoever_wrote_it_and_while_it_is_written(tmp_path: Path, opened: Open) -> None:
    first, second = opened(), opened()
    ids = [*first.append([label(0), label(1)]), *second.append([label(2)]), *first.append([label(3)])]
    assert len(set(ids)) == 4
    rows = [find(tmp_path, name) for name in ids]
    assert [row and (row["id"], row["prediction"]) for row in rows] == [(name, str(n)) for n, name in enumerate(ids)]


@pytest.mark.parametrize("wrong", ["", "x", "../../etc/passwd", "00000000-0000-00000000", "{}-0001-00000000", "{}-0000-00000001", "{}-0000-ffffffff", "{}-0000-{:08x}"])  # fmt: skip
def test_what_is_no_id_finds_nothing(tmp_path: Path, opened: Open, wrong: str) -> None:
    records = opened()
    records.append([label()])
    (path,) = segments(tmp_path)
    assert find(tmp_path, wrong.format(records.writer, path.stat().st_size)) is None


def test_a_damaged_record_is_told(tmp_path: Path, opened: Open) -> None:
    (name,) = opened().append([label()])
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"{", b"[", 1))
    with pytest.raises(LedgerError, match="damaged"):
        find(tmp_path, name)


@pytest.mark.parametrize("synced", [False, True])
def test_a_full_segment_is_followed_by_the_next(tmp_path: Path, opened: Open, *, synced: bool) -> None:
    records = opened(largest=500, synced=synced)
    ids = [name for number in range(20) for name in records.append([label(number)])]
    assert len(segments(tmp_path)) > 3
    assert all(find(tmp_path, name) for name in ids)
    newest = segments(tmp_path)[-1]
    assert [path for path in segments(tmp_path) if ledger.is_living(path)] == (
        segments(tmp_path) if synced else [newest]
    )
    records.sync()
    assert [path for path in segments(tmp_path) if ledger.is_living(path)] == [newest]
    records.close()
    assert not any(map(ledger.is_living, segments(tmp_path)))


def gone(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").rename(path)


def moved(path: Path) -> None:
    copied = path.with_name("copied")
    shutil.copyfile(path, copied)
    path.rename(path.with_name("kept"))
    copied.rename(path)


def linked(path: Path) -> None:
    path.with_name("linked").hardlink_to(path)
    path.unlink()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("harm", [gone, replaced, moved, linked, cut])
def test_who_took_a_segment_away_under_its_writer_takes_no_more_than_that(
    tmp_path: Path, opened: Open, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    records = opened()
    records.look()
    records.append([label(1)])
    records.look()
    (path,) = segments(tmp_path)
    harm(path)
    for _ in range(2):
        records.look()
    (name,) = records.append([label(2)])
    assert find(tmp_path, name)
    assert name.split("-")[1] == "0001"
    assert caplog.text.count(f"{path} was taken away or cut") == 1


def test_what_a_killed_writer_tore_is_cut_off_and_what_a_living_one_writes_is_not(
    tmp_path: Path, opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    living, gone, empty = opened(), opened(), tmp_path / "00000000" / "0000"
    for records in (living, gone):
        records.append([label(0), label(1)])
    gone.close()
    empty.parent.mkdir()
    empty.touch()
    whole = {path: path.read_bytes() for path in segments(tmp_path)}
    for path in (tmp_path / living.writer / "0000", tmp_path / gone.writer / "0000"):
        with path.open("ab") as file:
            file.write(b'{"chain":"')
    assert recover(tmp_path) == [tmp_path / gone.writer / "0000"]
    assert (tmp_path / gone.writer / "0000").read_bytes() == whole[tmp_path / gone.writer / "0000"]
    assert (tmp_path / living.writer / "0000").read_bytes().endswith(b'{"chain":"')
    assert recover(tmp_path) == []
    assert recover(tmp_path / "nowhere") == []
    assert caplog.text == ""


HERE = Path(__file__).parent
FILL = """
import json, resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_records import label
from tandem.errors import LedgerError
from tandem.serving.records import Records
records, ids, refused = Records(Path(sys.argv[1])), [], 0
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for limit in (2000, 4000, 6000, 100_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    for _ in range(20):
        try:
            ids += records.append([label(0), label(1), label(2)])
        except LedgerError:
            refused += 1
print(json.dumps([ids, refused]))
"""


def test_a_full_disk_takes_nothing_tears_nothing_and_is_well_again_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path), str(HERE)], capture_output=True, text=True, check=True
    )
    ids, refused = json.loads(done.stdout)
    assert refused > 40
    assert len(ids) == 3 * (80 - refused)
    (path,) = segments(tmp_path)
    assert len(list(ledger.rows(path))) == len(ids)
    assert all(find(tmp_path, name) for name in ids)


def test_where_no_segment_can_be_made_it_is_told(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "ledger").touch()
    with pytest.raises(LedgerError, match="ledger"):
        opened(tmp_path / "ledger").append([label()])


def test_nothing_follows_half_a_line_that_cannot_be_cut_off(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = opened()
    before = records.append([label(0)])
    (path,) = segments(tmp_path)

    class Torn:
        """A file on a disk that fails."""

        name = str(path)

        def write(self, data: bytes) -> int:
            with path.open("ab") as file:
                return file.write(data[:50])

        def truncate(self, _: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        def close(self) -> None:
            pass

    segment = records._segment  # noqa: SLF001 - what a disk does cannot be asked for
    assert segment is not None
    with monkeypatch.context() as patch:
        patch.setattr(segment, "_file", Torn())
        with pytest.raises(LedgerError):
            records.append([label(1)])
    after = records.append([label(2)])
    assert [find(tmp_path, name) is not None for name in (*before, *after)] == [True, True]
    assert [len(list(ledger.rows(path))) for path in segments(tmp_path)] == [1, 1]


Told = list[LedgerError | None]


def remembered(records: Records, durability: Durability, during: Callable[[Memory, Told], None]) -> Told:
    """Let something be remembered inside of a loop, until all of it was delivered."""
    told: Told = []

    async def run() -> None:
        during(Memory(records, durability), told)
        while not told:  # noqa: ASYNC110 - delivered by callbacks
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)

    asyncio.run(run())
    return told


def three(memory: Memory, told: Told) -> None:
    for number in range(3):
        memory.append([label(number)])
        memory.when_safe(told.append)


def test_by_power_each_waits_for_one_sync_with_those_that_gathered(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    assert remembered(opened(synced=True), "power", three) == [None] * 3
    assert len(synced) == 2, "one for the first, one for the two that came while it ran"


def test_by_process_nobody_waits(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fdatasync")
    assert remembered(opened(), "process", three) == [None] * 3
    assert sum(len(list(ledger.rows(path))) for path in segments(tmp_path)) == 3


def test_when_off_nothing_is_written_and_ids_are_told(tmp_path: Path, opened: Open) -> None:
    memory = Memory(opened(), "off")
    assert len(set(memory.append([label(), label()]))) == 2
    assert segments(tmp_path) == []


def test_what_the_disk_did_not_take_is_told_and_never_written_after(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = opened(synced=True)

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fails)
        told = remembered(records, "power", three)
    assert len(told) == 3
    assert all("did not take it" in str(error) for error in told)
    assert remembered(records, "power", three) == [None] * 3
    assert len(segments(tmp_path)) == 2


def test_a_writer_that_is_killed_lets_go(tmp_path: Path) -> None:
    code = f"import sys, time; sys.path.insert(0, {str(HERE)!r}); from test_records import *; r = Records(Path({str(tmp_path)!r})); r.append([label()]); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (path,) = segments(tmp_path)
        assert ledger.is_living(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not ledger.is_living(path)
