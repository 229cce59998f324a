"""The landing is named by what is in it, and pinned in an order that does not depend on when a file came."""

import re
from hashlib import sha256
from itertools import permutations
from pathlib import Path

import pytest

from tandem.errors import SourceError
from tandem.landing import Pin, Pins, landed
from tandem.problem import Problem, Source
from tasks.landing import land_file, landed_files, pin_of

DATA = b"a,b\n1,2\n"
DIGEST = sha256(DATA).hexdigest()


def pin(source: str = "zoo/animals", sha256: str = DIGEST, **values: object) -> Pin:
    return Pin.model_validate({"source": source, "sha256": sha256, "bytes": len(DATA), "fetch": "file:a.csv"} | values)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw.csv"
    path.write_bytes(DATA)
    return path


def zoo(*names: str) -> Problem:
    sources = tuple(Source(name, "csv") for name in names)
    return Problem(name="zoo", question="?", sources=sources, keys=(), rates=())


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    pins = Pins(pins=(pin(), pin("zoo/keepers", "0" * 64, known=("2024-01-01", "2024-01-31"))))
    pins.save(tmp_path / "sources.lock")
    assert Pins.load(tmp_path / "sources.lock") == pins


def test_the_lock_is_the_same_in_any_order_of_arrival(tmp_path: Path) -> None:
    days = [("2024-01-01", "2024-02-01"), ("2024-01-01", "2024-02-01"), ("2023-01-01", "2024-01-01")]
    all_pins = [pin(sha256=str(n) * 64, known=known) for n, known in enumerate(days)] + [pin("zoo/keepers")]
    seen = set()
    for order in permutations(all_pins):
        pins = Pins(pins=())
        for each in order:
            pins = pins.with_pin(each)
        pins.save(tmp_path / "sources.lock")
        seen.add((tmp_path / "sources.lock").read_text())
    assert len(seen) == 1


def test_a_file_that_is_pinned_is_not_pinned_twice() -> None:
    pins = Pins(pins=()).with_pin(pin())
    elsewhere = pin(fetch="file:elsewhere.csv")
    assert pins.with_pin(elsewhere) == pins
    assert pins.with_pin(elsewhere, anew=True).pins.count(elsewhere) == 1
    assert len(pins.with_pin(elsewhere, anew=True).pins) == len(pins.pins)


def test_the_pins_of_a_source_are_those_of_its_problem_only() -> None:
    pins = Pins(pins=(pin(), pin("park/animals", "1" * 64), pin("zoo/keepers", "2" * 64)))
    assert [each.sha256 for each in pins.of("zoo", "animals")] == [DIGEST]


@pytest.mark.parametrize(
    "text", ["- source: zoo", "- {source: zoo/a, sha256: abc, bytes: 1, fetch: 'file:a'}", "{", "just words"]
)
def test_a_lock_that_is_not_one_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "sources.lock").write_text(text)
    with pytest.raises(SourceError, match="cannot be read"):
        Pins.load(tmp_path / "sources.lock")


def test_a_lock_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "sources.lock").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match=r"sources\.lock cannot be read"):
        Pins.load(tmp_path / "sources.lock")


@pytest.mark.parametrize("fetch", ["by mail", "pypi:zoo==1#a.csv", "pypi:zoo==1?sha256=abc"])
def test_a_way_to_fetch_that_nobody_could_go_is_told(fetch: str, raw: Path) -> None:
    with pytest.raises(SourceError, match=rf"raw\.csv \(zoo/animals\) cannot be pinned: fetch: .*'{re.escape(fetch)}'"):
        pin_of(raw, "zoo/animals", fetch)


def test_a_missing_lock_is_told_with_the_commands_that_bring_it(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no .*sources\.lock: `tandem land SOURCE FILE` .*`git checkout .*\.lock`"):
        Pins.load(tmp_path / "sources.lock")


def test_what_has_landed_is_a_copy_that_nobody_may_write(raw: Path, tmp_path: Path) -> None:
    path = land_file(raw, tmp_path / "landing", pin())
    assert path == tmp_path / "landing" / DIGEST
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o222 == 0
    assert raw.is_file()


@pytest.mark.parametrize("damage", [DATA[:-1], DATA.replace(b"1", b"7")], ids=["cut", "changed"])
def test_a_damaged_file_of_the_landing_is_refused(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / DIGEST).write_bytes(damage)
    with pytest.raises(SourceError, match="was damaged"):
        landed(tmp_path, pin())


def test_a_file_that_changes_while_it_lands_does_not_land(raw: Path, tmp_path: Path) -> None:
    pinned = pin_of(raw, "zoo/animals")
    raw.write_bytes(DATA * 2)
    with pytest.raises(SourceError, match="which is pinned"):
        land_file(raw, tmp_path / "landing", pinned)
    assert list((tmp_path / "landing").iterdir()) == []


def test_a_pin_says_digest_size_and_where_from(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raw.parent)
    assert pin_of(raw, "zoo/animals") == pin(fetch="file:raw.csv")
    fetch = f"pypi:zoo==1#a.csv?sha256={'0' * 64}"
    assert pin_of(raw, "zoo/animals", fetch).fetch == fetch
    monkeypatch.chdir("/")
    assert pin_of(Path("..", *raw.parts[1:]), "zoo/animals").fetch == f"file:{raw.relative_to('/')}"


def test_a_file_that_is_not_there_cannot_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.csv \(zoo/animals\): no such file"):
        pin_of(tmp_path / "no.csv", "zoo/animals")


def test_what_is_pinned_and_missing_is_fetched_once(raw: Path, tmp_path: Path) -> None:
    pins, folder = Pins(pins=(pin(fetch=f"file:{raw}"),)), tmp_path / "landing"
    assert landed_files(pins, zoo("animals"), folder) == {"animals": (folder / DIGEST,)}
    raw.unlink()
    assert landed_files(pins, zoo("animals"), folder) == {"animals": (folder / DIGEST,)}


def test_what_cannot_be_fetched_is_told(tmp_path: Path) -> None:
    pins = Pins(pins=(pin(fetch=f"file:{tmp_path / 'gone.csv'}"),))
    with pytest.raises(SourceError, match=r"zoo/animals is pinned .* neither the landing nor .*gone\.csv holds it"):
        landed_files(pins, zoo("animals"), tmp_path / "landing")


def test_what_is_fetched_must_have_the_pinned_digest(raw: Path, tmp_path: Path) -> None:
    raw.write_bytes(DATA * 2)
    with pytest.raises(SourceError, match="which is pinned"):
        landed_files(Pins(pins=(pin(fetch=f"file:{raw}"),)), zoo("animals"), tmp_path / "landing")
    assert list((tmp_path / "landing").iterdir()) == []


def test_a_source_without_files_is_told_with_the_command_that_mends_it(raw: Path, tmp_path: Path) -> None:
    pins = Pins(pins=(pin(fetch=f"file:{raw}"),))
    with pytest.raises(SourceError, match="tandem land keepers FILE"):
        landed_files(pins, zoo("animals", "keepers"), tmp_path)
    assert list(landed_files(pins, zoo("animals", "keepers"), tmp_path, ["animals"])) == ["animals"]
