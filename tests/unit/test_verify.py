"""What `tandem verify` compares, piece by piece, on a bundle of a few small files; the whole is in tests/integration."""

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from tandem.bundle import Bundle, seal
from tandem.errors import ArchiveError, BundleError, CannotVerifyError, DivergesError
from tandem.features import FeatureSpec
from tandem.files import write_json
from tandem.landing import Pin, Pins
from tasks.verify import check_environment, compare_stage, difference, lay_out, run_stage, stages_of

RAW = {"orders": b"first", "events": b"second"}
LOCK = f"""\
polars=={version("polars")} \\
    --hash=sha256:0
nobody-has-this==1.0 ; sys_platform == 'win32' \\
    --hash=sha256:0
"""
DVC = {
    "stages": {
        "ingest": {
            "cmd": "python -m flows.ingest",
            "outs": ["data/${problem}/facts", {"data/${problem}/x": {"cache": False}}],
        },
        "check": {"cmd": "python -m flows.check"},
    }
}
SPEC = FeatureSpec(
    problem="shop",
    question="?",
    tick_minutes=10,
    lag_minutes=5,
    fields={},
    keys=(),
    rates=(),
    slices_sql="",
    baselines={},
    views=(),
    request_sql="",
    inputs=(),
)
MADE = {"facts/a/1.parquet": b"1", "facts/a/2.parquet": b"2", "facts_of/b.parquet": b"3", "views/v.parquet": b"4"}
SHORT = b'{"rows":3}'
REPORTS = {"ingest": {"rows": 3}, "training_set": {"rows": 2}, "evaluation": {"auc": 0.5}}


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def pins() -> list[Pin]:
    made = ((f"shop/{name}", digest(data), data) for name, data in RAW.items())
    return [Pin(source=source, sha256=name, bytes=len(data), fetch="file:x") for source, name, data in made]


def sealed(folder: Path, *, kept: tuple[Pin, ...] | None = None, lock: str = LOCK, **inputs: object) -> Bundle:
    """A bundle with its source, which pins what it is made of, and the digests of what its stages made."""
    folder.mkdir()
    Pins(pins=tuple(pins()) if kept is None else kept).save(folder / "sources.lock")
    source = {
        "data/sources.lock": (folder / "sources.lock").read_bytes(),
        "params.yaml": b"problem: shop\n",
        "dvc.yaml": yaml.safe_dump(DVC, sort_keys=False).encode(),
        "requirements.lock": lock.encode(),
    }
    (folder / "sources.lock").unlink()
    with tarfile.open(folder / "source.tar", "w") as archive:
        for name, data in source.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    told = {
        "landing": {name: [digest(data)] for name, data in RAW.items()},
        "environment": digest(LOCK.encode()),
        "stages": {name: digest(data) for name, data in MADE.items()},
    }
    write_json(folder / "inputs.json", told | inputs)
    for name, said in REPORTS.items():
        write_json(folder / "reports" / f"{name}.json", said)
    (folder / "card.md").write_text("A card.")
    SPEC.save(folder / "features.json")
    seal(folder, {"tandem.as_of": "2024-01-01"})
    return Bundle.open(folder)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return sealed(tmp_path / "bundle")


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    folder = tmp_path / "landing"
    folder.mkdir()
    for data in (*RAW.values(), b"of another bundle"):
        (folder / digest(data)).write_bytes(data)
    return folder


@pytest.fixture
def laid(bundle: Bundle, landing: Path, tmp_path: Path) -> Path:
    """The source and the raw files, and what the stages made of them, as it was."""
    folder = tmp_path / "again"
    lay_out(bundle, landing, folder)
    for name, data in MADE.items():
        target = folder / "data" / "shop" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    for name, said in REPORTS.items():
        write_json(folder / "data" / "shop" / "reports" / f"{name}.json", said)
    return folder


def test_the_source_and_the_raw_files_that_it_pins_are_laid_out_and_nothing_else(
    bundle: Bundle, landing: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    lay_out(bundle, landing, folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    raw = {f"var/landing/{digest(data)}" for data in RAW.values()}
    assert files == {"data/sources.lock", "params.yaml", "dvc.yaml", "requirements.lock", *raw}
    assert (folder / "var" / "landing" / digest(b"first")).read_bytes() == b"first"


@pytest.mark.parametrize(
    ("name", "kind"), [("../outside", tarfile.REGTYPE), ("/outside", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)]
)
def test_a_source_that_would_be_laid_out_elsewhere_is_refused(
    bundle: Bundle, landing: Path, tmp_path: Path, name: str, kind: bytes
) -> None:
    with tarfile.open(bundle.folder / "source.tar", "a") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, str(tmp_path)
        archive.addfile(entry)
    with pytest.raises(ArchiveError, match=f"{name}' is no plain file"):
        lay_out(bundle, landing, tmp_path / "again")
    assert not (tmp_path / "outside").exists()


def test_a_raw_file_that_is_missing_is_named(bundle: Bundle, landing: Path, tmp_path: Path) -> None:
    (landing / digest(b"second")).unlink()
    with pytest.raises(CannotVerifyError, match=rf"^cannot: landing {digest(b'second')} \(shop/events\): `tandem run`"):
        lay_out(bundle, landing, tmp_path / "again")


def test_a_raw_file_that_changed_is_named(bundle: Bundle, landing: Path, tmp_path: Path) -> None:
    (landing / digest(b"second")).write_bytes(b"other")
    said = f"diverges: landing shop/events {digest(b'other')} where {digest(b'second')} is pinned"
    with pytest.raises(DivergesError, match=f"^{said}$"):
        lay_out(bundle, landing, tmp_path / "again")


def test_a_raw_file_that_its_own_source_does_not_pin_is_told(landing: Path, tmp_path: Path) -> None:
    kept = sealed(tmp_path / "bundle", kept=(pins()[0],))
    with pytest.raises(CannotVerifyError, match=rf"sources\.lock in its source, which should pin {digest(b'second')}"):
        lay_out(kept, landing, tmp_path / "again")


def test_the_environment_is_the_locks_where_it_is_here(bundle: Bundle, laid: Path) -> None:
    check_environment(bundle, laid)
    with (laid / "requirements.lock").open("a") as lock:
        lock.write("# another\n")
    with pytest.raises(CannotVerifyError, match=r"^cannot: requirements\.lock as inputs\.json names it$"):
        check_environment(bundle, laid)


def test_another_version_of_a_package_is_told(landing: Path, tmp_path: Path) -> None:
    lock = LOCK.replace(version("polars"), "0.1")
    other = sealed(tmp_path / "bundle", lock=lock, environment=digest(lock.encode()))
    lay_out(other, landing, tmp_path / "again")
    with pytest.raises(CannotVerifyError, match=rf"^cannot: polars 0\.1 \(here is {version('polars')}\)$"):
        check_environment(other, tmp_path / "again")


def test_stages_are_those_that_the_source_states(laid: Path) -> None:
    assert list(stages_of(laid).items()) == [
        ("ingest", ("python -m flows.ingest", ["data/shop/facts", "data/shop/x"])),
        ("check", ("python -m flows.check", [])),
    ]


def stage_that(code: str, folder: Path) -> str:
    (folder / "stage.py").write_text(code)
    return "python -m stage"


def test_a_stage_runs_in_its_folder_and_sees_little_of_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {
        "PATH": os.environ["PATH"],
        "HOME": "/h",
        "LANG": "C",
        "TMPDIR": "/t",
        "SSL_CERT_FILE": "/s",
        "PIP_CERT": "/p",
    }
    for name, value in (seen | {"TANDEM_TRACKING_URI": "http://elsewhere", "PREFECT_API_URL": "http://there"}).items():
        monkeypatch.setenv(name, value)
    code = "import json, os, sys; print('noise'); json.dump([sys.executable, dict(os.environ)], open('seen.json', 'w'))"
    run_stage("ingest", stage_that(code, tmp_path), tmp_path)
    python, environment = json.loads((tmp_path / "seen.json").read_text())
    assert python == sys.executable
    assert environment.pop("LC_CTYPE", None) in (None, "C.UTF-8"), "Python's own"
    assert environment == seen | {"TANDEM_TRACKING_URI": ""}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('first\\nno sense', file=sys.stderr); sys.exit(3)", "exit 3 no sense"),
        ("raise SystemExit(1)", "exit 1 no reason"),
    ],
)
def test_a_stage_that_fails_diverges_by_its_last_words(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], code: str, said: str
) -> None:
    with pytest.raises(DivergesError, match=f"^diverges: views {said}$"):
        run_stage("views", stage_that(code, tmp_path), tmp_path)
    assert capfd.readouterr() == ("", ""), "its words are told once"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "signal 9 ended it"),
        ("raise OSError(28, 'No space left on device')", "OSError: .Errno 28. No space left on device"),
        ("raise MemoryError", "MemoryError"),
        ("import optuna_of_the_lock", "ModuleNotFoundError: No module named 'optuna_of_the_lock'"),
    ],
)
def test_a_stage_that_fails_for_what_is_around_it_proves_nothing(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(CannotVerifyError, match=f"^cannot: views: {said}$"):
        run_stage("views", stage_that(code, tmp_path), tmp_path)


def test_a_stage_whose_own_code_is_missing_diverges(tmp_path: Path) -> None:
    with pytest.raises(DivergesError, match=r"No module named 'tasks\.nothing'"):
        run_stage("views", stage_that("import sys; sys.exit(\"No module named 'tasks.nothing'\")", tmp_path), tmp_path)


def test_the_files_of_a_stage_are_counted_where_they_are_the_same(bundle: Bundle, laid: Path) -> None:
    assert compare_stage(bundle, "ingest", ["data/shop/facts"], laid) == 2
    assert compare_stage(bundle, "views", ["data/shop/views", "data/shop/facts"], laid) == 3
    assert compare_stage(bundle, "tune", ["data/shop/tune"], laid) == 0
    assert compare_stage(bundle, "check", [], laid) == 0


@pytest.mark.parametrize(("data", "said"), [(b"9", digest(b"9")), (None, "missing")])
def test_the_first_file_that_is_another_one_is_named(bundle: Bundle, laid: Path, data: bytes | None, said: str) -> None:
    for name in ("facts/a/1.parquet", "facts/a/2.parquet"):
        (laid / "data" / "shop" / name).unlink()
        if data:
            (laid / "data" / "shop" / name).write_bytes(data)
    with pytest.raises(DivergesError, match=rf"^diverges: ingest facts/a/1\.parquet {said} where {digest(b'1')} was$"):
        compare_stage(bundle, "ingest", ["data/shop/facts"], laid)
    assert compare_stage(bundle, "views", ["data/shop/views"], laid) == 1


@pytest.mark.parametrize(
    ("stage", "name", "said"),
    [
        ("ingest", "ingest", "rows: 4 where 3 was"),
        ("training_set", "training_set", "rows: 4 where 2 was"),
        ("evaluate", "evaluation", "auc: null where 0.5 was"),
    ],
)
def test_a_report_that_says_another_thing_is_named_by_the_value(
    bundle: Bundle, laid: Path, stage: str, name: str, said: str
) -> None:
    assert compare_stage(bundle, stage, [], laid) == 0
    write_json(laid / "data" / "shop" / "reports" / f"{name}.json", {"rows": 4} if name != "evaluation" else {})
    with pytest.raises(DivergesError, match=rf"^diverges: {stage} {name}\.json {said}$"):
        compare_stage(bundle, stage, [], laid)
    (laid / "data" / "shop" / "reports" / f"{name}.json").unlink()
    with pytest.raises(DivergesError, match=rf"^diverges: {stage} {name}\.json it: null where \{{"):
        compare_stage(bundle, stage, [], laid)


def remade(laid: Path, bundle: Bundle, change: Callable[[Path], object], annotations: dict[str, str]) -> Path:
    """The bundle made again with a change."""
    target = laid / "data" / "shop" / "bundle"
    for name in bundle.files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes((bundle.folder / name).read_bytes())
    change(target)
    seal(target, annotations)
    return target


REMADE: dict[str, tuple[Callable[[Path], object], str]] = {
    "one that says another thing": (
        lambda folder: write_json(folder / "reports" / "ingest.json", {"rows": 5}),
        r"ingest\.json rows: 5 where 3 was",
    ),
    "one that is written otherwise": (
        lambda folder: (folder / "reports" / "ingest.json").write_bytes(SHORT),
        rf"reports/ingest\.json sha256:{digest(SHORT)} where sha256:\w+ was",
    ),
    "another text": (
        lambda folder: (folder / "card.md").write_text("Another."),
        rf"card\.md sha256:{digest(b'Another.')} where sha256:{digest(b'A card.')} was",
    ),
    "one less": (
        lambda folder: (folder / "card.md").unlink(),
        rf"card\.md missing where sha256:{digest(b'A card.')} was",
    ),
    "one more": (lambda folder: write_json(folder / "a.json", {}), r"a\.json sha256:\w+ where nothing was"),
}


@pytest.mark.parametrize("name", REMADE)
def test_a_bundle_that_came_out_another_one_is_named_by_its_first_file(bundle: Bundle, laid: Path, name: str) -> None:
    change, said = REMADE[name]
    remade(laid, bundle, change, bundle.annotations)
    with pytest.raises(DivergesError, match=f"^diverges: bundle {said}$"):
        compare_stage(bundle, "bundle", ["data/shop/bundle"], laid)


def test_a_bundle_that_came_out_the_same_is_counted(bundle: Bundle, laid: Path) -> None:
    remade(laid, bundle, lambda _: None, bundle.annotations)
    assert compare_stage(bundle, "bundle", ["data/shop/bundle"], laid) == len(bundle.files) == 7


def test_a_manifest_that_says_another_thing_of_the_same_files_is_another_bundle(bundle: Bundle, laid: Path) -> None:
    target = remade(laid, bundle, lambda _: None, bundle.annotations | {"note": "another"})
    said = rf"manifest\.json {Bundle.open(target).digest} where {bundle.digest} was"
    with pytest.raises(DivergesError, match=f"^diverges: bundle {said}$"):
        compare_stage(bundle, "bundle", ["data/shop/bundle"], laid)


def test_a_bundle_that_came_out_damaged_is_no_bundle(bundle: Bundle, laid: Path) -> None:
    target = remade(laid, bundle, lambda _: None, bundle.annotations)
    (target / "card.md").write_text("Not sealed.")
    with pytest.raises(BundleError, match=r"card\.md is not the file"):
        compare_stage(bundle, "bundle", ["data/shop/bundle"], laid)


DIFFERENCES: list[tuple[Any, Any, str | None]] = [
    ({"a": 1, "b": [1, {"c": 2}]}, {"b": [1, {"c": 2}], "a": 1}, None),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b: 3 where 2 was"),
    ({"a": {"b": [0, {"c": 2}]}}, {"a": {"b": [0, {"c": 3}]}}, "a.b[1].c: 3 where 2 was"),
    ({"a": 1}, {"a": 1, "b": 2}, "b: 2 where null was"),
    ({"a": 1, "b": 2}, {"a": 1}, "b: null where 2 was"),
    ([1, 2], [1, 2, 3], "it: [1, 2, 3] where [1, 2] was"),
    ([1, 2], [1, 3], "[1]: 3 where 2 was"),
    ([1], {"a": 1}, 'it: {"a": 1} where [1] was'),
    ({"a": 1}, [1], 'it: [1] where {"a": 1} was'),
    ({"a": [1]}, {"a": "x"}, 'a: "x" where [1] was'),
    ("x", [1], 'it: [1] where "x" was'),
    ({"x": "a" * 58}, {"x": "b" * 59}, 'x: "' + "b" * 56 + '... where "' + "a" * 58 + '" was'),
    ([1, 2, 3], [0, 2, 0], "[0]: 0 where 1 was"),
]


@pytest.mark.parametrize(("was", "now", "said"), DIFFERENCES)
def test_the_first_value_that_differs_is_named_by_its_path(was: object, now: object, said: str | None) -> None:
    assert difference(was, now) == said
