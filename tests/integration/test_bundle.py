"""The bundle: a closed OCI artifact that answers as the model does, and rebuilds itself."""

import base64
import hashlib
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from commands import command
from conftest import STAGES, Workspace
from raw_parcels import CUSTOMERS

from flows.bundle import bundle as bundle_flow
from tandem.boosting import read_booster
from tandem.bundle import ARTIFACT, MANIFEST, TITLE, Bundle, seal
from tandem.errors import BundleError, GateError, MissingError
from tasks.onnx import write_onnx

DIGEST = re.compile(r"^sha256:[a-f0-9]{64}$")
MEDIA_TYPE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$")
EVERY_STAGE = f"""
import flows
from importlib import import_module
from tandem.params import Params
from tandem.settings import Settings
for stage in {STAGES}:
    getattr(import_module(f"flows.{{stage}}"), stage)(Params.load(), Settings.load())
"""


@pytest.fixture
def folder(built: Workspace, tmp_path: Path) -> Path:
    """A bundle to be damaged."""
    return Path(shutil.copytree(built.data / "bundle", tmp_path / "bundle"))


def check_descriptor(descriptor: dict[str, Any]) -> None:
    """Hold it to the OCI specification's content-descriptor schema."""
    assert descriptor.keys() <= {"mediaType", "digest", "size", "annotations", "data"}
    assert MEDIA_TYPE.match(descriptor["mediaType"])
    assert DIGEST.match(descriptor["digest"])
    assert isinstance(descriptor["size"], int)
    assert all(isinstance(value, str) for value in descriptor.get("annotations", {}).values())


def test_the_manifest_is_an_oci_image_manifest_of_our_artifact_type(bundle: Bundle) -> None:
    manifest = json.loads((bundle.folder / MANIFEST).read_bytes())
    assert manifest.keys() == {"schemaVersion", "mediaType", "artifactType", "config", "layers", "annotations"}
    assert manifest["schemaVersion"] == 2
    assert manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert MEDIA_TYPE.match(manifest["artifactType"])
    assert manifest["artifactType"] == ARTIFACT == "application/vnd.tandem.bundle.v1+json"
    assert all(isinstance(value, str) for value in manifest["annotations"].values())
    for descriptor in (manifest["config"], *manifest["layers"]):
        check_descriptor(descriptor)
    content = base64.b64decode(manifest["config"]["data"])
    assert content == b"{}"
    assert (manifest["config"]["mediaType"], manifest["config"]["size"]) == ("application/vnd.oci.empty.v1+json", 2)
    assert manifest["config"]["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


KINDS = {
    ".json": "application/json",
    ".md": "text/markdown",
    ".onnx": "application/vnd.tandem.onnx",
    ".parquet": "application/vnd.apache.parquet",
    ".sql": "application/sql",
    ".tar": "application/x-tar",
}


def test_every_file_is_told_by_what_oci_calls_its_title_and_its_kind(tmp_path: Path) -> None:
    for suffix in KINDS:
        (tmp_path / f"a{suffix}").touch()
    seal(tmp_path, {"tandem.as_of": "2024-01-01", "said": "by whoever sealed it"})
    found = Bundle.open(tmp_path)
    titles = [layer["annotations"]["org.opencontainers.image.title"] for layer in found.manifest["layers"]]
    assert titles == sorted(f"a{suffix}" for suffix in KINDS) == sorted(found.files)
    assert [layer["mediaType"] for layer in found.manifest["layers"]] == [KINDS[Path(title).suffix] for title in titles]
    assert found.annotations["said"] == "by whoever sealed it"
    assert found.as_of == datetime(2024, 1, 1)  # noqa: DTZ001
    with pytest.raises(BundleError, match=r"holds no card\.md: an earlier version of Tandem made it"):
        found.text("card.md")


def test_every_file_is_a_layer_with_its_path_size_and_digest(bundle: Bundle) -> None:
    layers = bundle.manifest["layers"]
    paths = {p.relative_to(bundle.folder).as_posix(): p for p in bundle.folder.rglob("*") if p.is_file()}
    assert {layer["annotations"][TITLE] for layer in layers} == paths.keys() - {MANIFEST}
    for layer in layers:
        data = paths[layer["annotations"][TITLE]].read_bytes()
        assert layer["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert layer["size"] == len(data)


def test_a_bundle_is_named_by_the_digest_of_its_manifest(bundle: Bundle) -> None:
    assert bundle.digest == hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest()


def test_a_bundle_holds_all_that_it_takes_to_answer_to_judge_and_to_rebuild(bundle: Bundle) -> None:
    needed = (
        "model.json model.onnx features.json contract.json decision.json golden.json reference.json reference.parquet"
    )
    judged = "card.md trials.json importance.json reports/evaluation.json reports/training_set.json reports/ingest.json"
    rebuilt = "source.tar inputs.json params.json contracts/ordered.json contracts/orders.json baselines/rates.json"
    assert set(f"{needed} {judged} {rebuilt}".split()) <= bundle.files.keys()


def test_no_persons_data_is_in_a_bundle(bundle: Bundle) -> None:
    for name in bundle.files:
        data = (bundle.folder / name).read_bytes()
        assert [c for c in CUSTOMERS if c.encode() in data] == [], name
    assert "customer" not in pl.read_parquet(bundle.folder / "reference.parquet").columns


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def link(file: Path) -> None:
    kept = file.rename(file.parents[1] / "elsewhere")
    file.symlink_to(kept)


@pytest.mark.parametrize("name", ["model.onnx", "contract.json", "source.tar", "card.md"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "is not the file that the manifest names"),
        (cut, "is not the file that the manifest names"),
        (Path.unlink, "is missing"),
        (link, "is a link"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    folder: Path, name: str, damage: Callable[[Path], None], reason: str
) -> None:
    damage(folder / name)
    with pytest.raises(BundleError, match=f"{name} {reason}"):
        Bundle.open(folder)


def test_a_file_too_many_is_refused_by_name(folder: Path) -> None:
    (folder / "reports" / "more.json").write_text("{}")
    with pytest.raises(BundleError, match=r"reports/more.json is not in the manifest"):
        Bundle.open(folder)


def test_a_second_manifest_further_down_is_a_file_too_many(folder: Path) -> None:
    shutil.copyfile(folder / MANIFEST, folder / "reports" / MANIFEST)
    with pytest.raises(BundleError, match=r"reports/manifest.json is not in the manifest"):
        Bundle.open(folder)


def test_a_linked_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "more").symlink_to(tmp_path)
    with pytest.raises(BundleError, match="more is not in the manifest"):
        Bundle.open(folder)


def test_a_linked_manifest_is_refused(folder: Path) -> None:
    link(folder / MANIFEST)
    with pytest.raises(BundleError, match=r"manifest.json is a link"):
        Bundle.open(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.pop("layers"), "missing required field `layers`"),
        (lambda m: m.pop("annotations"), "missing required field `annotations`"),
        (lambda m: m.update(annotations={}), "tandem.as_of"),
        (lambda m: m.update(layers=[{}]), "missing required field `digest`"),
        (lambda m: m.update(layers=None), "Expected `array`, got `null`"),
        (lambda m: m.update(artifactType="application/vnd.other"), "is one of application/vnd.other"),
        (lambda m: m["layers"].append(m["layers"][0]), "it names a file twice$"),
        (lambda m: m["layers"].pop(), "is not in the manifest"),
        (lambda m: m["layers"][0]["annotations"].update({TITLE: "../outside.json"}), r"\.\./outside.json is missing"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, change: Callable[[Any], object], reason: str) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=reason):
        Bundle.open(folder)


@pytest.mark.parametrize("size", [0, 1 << 30, 1 << 40])
def test_a_size_that_is_claimed_or_grown_is_refused_before_a_digest_is_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    model = next(layer for layer in manifest["layers"] if layer["annotations"][TITLE] == "model.onnx")
    monkeypatch.setattr("tandem.bundle.sha256_of", lambda _: pytest.fail("it was read"))
    os.truncate(folder / "model.onnx", size)
    with pytest.raises(BundleError, match=r"model.onnx is not the file that the manifest names: its size differs"):
        Bundle.open(folder)
    model["size"] = size + 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"model.onnx is (larger than a bundle's file may be|not the file)"):
        Bundle.open(folder)


GIB, MANIFESTS = 1 << 30, 1 << 22


@pytest.mark.parametrize("more", [0, 1])
def test_a_file_has_a_gibibyte_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    monkeypatch.setattr("tandem.bundle.sha256_of", lambda _: "0" * 64)  # to read it would take seconds
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(GIB + more)
    seal(tmp_path, {"tandem.as_of": "2024-01-01"})
    refused = pytest.raises(BundleError, match=r"model\.onnx is larger than a bundle's file may be, 1024 MiB")
    with refused if more else nullcontext():
        assert list(Bundle.open(tmp_path).files) == ["model.onnx"]


@pytest.mark.parametrize("more", [0, 1])
def test_a_manifest_has_four_mebibytes_at_most(folder: Path, more: int) -> None:
    said = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(said.ljust(MANIFESTS + more))
    refused = pytest.raises(BundleError, match=r"manifest\.json is larger than a manifest may be")
    with refused if more else nullcontext():
        assert Bundle.open(folder).spec.names


def test_an_empty_folder_and_one_with_too_many_files_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = len([path for path in folder.rglob("*") if path != folder])
    monkeypatch.setattr("tandem.bundle.MOST_FILES", there)
    Bundle.open(folder)
    (folder / "deep").mkdir()
    with pytest.raises(BundleError, match=f"holds more than {there} files"):
        Bundle.open(folder)
    monkeypatch.undo()
    with pytest.raises(BundleError, match="deep is a folder that holds nothing"):
        Bundle.open(folder)


def test_what_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("tandem.bundle.sha256_of", broken)
    with pytest.raises(BundleError, match=r"cannot be read: .*Input/output error"):
        Bundle.open(folder)


@pytest.mark.parametrize("text", ["", "no json", "[]", "\xff"])
def test_a_manifest_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(BundleError, match="is no bundle's manifest"):
        Bundle.open(folder)


def test_where_no_bundle_is_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"holds no bundle: `dvc repro`"):
        Bundle.open(tmp_path)


def test_sealing_the_same_files_gives_the_same_name(folder: Path, bundle: Bundle) -> None:
    (folder / MANIFEST).unlink()
    assert seal(folder, bundle.annotations) == bundle.digest


def test_onnx_made_twice_is_the_same_to_the_byte(bundle: Bundle, tmp_path: Path) -> None:
    booster = read_booster(bundle.folder / "model.json")
    made = [write_onnx(booster, tmp_path / f"{n}.onnx").read_bytes() for n in range(2)]
    assert made == [(bundle.folder / "model.onnx").read_bytes()] * 2


def test_reference_counts_are_of_all_fitted_rows(bundle: Bundle, built: Workspace) -> None:
    reference = bundle.json("reference.json")
    fitted = pl.read_parquet(built.data / "training_set" / "rows.parquet").filter(split="fit")
    assert reference["rows"] == fitted.height
    assert tuple(reference["inputs"]) == bundle.spec.names
    for name, of in reference["inputs"].items():
        assert sum(of["counts"]) + of["nulls"] == fitted.height
        assert len(of["counts"]) == len(of["edges"]) + 1
        assert of["nulls"] == fitted[name].null_count()


def test_inputs_name_every_raw_file_by_its_digest(bundle: Bundle, raw: list[tuple[str, Path]]) -> None:
    landed = {digest for digests in bundle.json("inputs.json")["landing"].values() for digest in digests}
    assert landed == {hashlib.sha256(file.read_bytes()).hexdigest() for _, file in raw}


def test_the_card_shows_figures_gates_and_costs(bundle: Bundle) -> None:
    card = (bundle.folder / "card.md").read_text()
    evaluation = bundle.json("reports/evaluation.json")
    assert f"{evaluation['overall']['auc']:.4f}" in card
    for gate in evaluation["gates"]:
        assert f"| {gate['name']} | pass |" in card


def test_the_source_is_packed_in_one_way_only(bundle: Bundle) -> None:
    with tarfile.open(bundle.folder / "source.tar") as archive:
        entries = archive.getmembers()
    names = [entry.name for entry in entries]
    assert names == sorted(set(names), key=lambda name: Path(name).parts)
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname, e.mode, e.isfile()) for e in entries} == {
        (0, 0, 0, "", "", 0o644, True)
    }
    assert {"dvc.yaml", "params.yaml", "requirements.lock", "pyproject.toml", "data/sources.lock"} <= set(names)
    assert not [name for name in names if name.startswith("problems/") and "parcels" not in name]


def test_a_bundles_source_rebuilds_the_bundle_to_the_byte(bundle: Bundle, built: Workspace, tmp_path: Path) -> None:
    with tarfile.open(bundle.folder / "source.tar") as archive:
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            (tmp_path / entry.name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / entry.name).write_bytes(content.read())
    shutil.copytree(built.settings.landing, tmp_path / "var" / "landing")
    done = command(tmp_path, "python", "-c", EVERY_STAGE)
    assert done.returncode == 0, done.stderr
    assert Bundle.open(tmp_path / "data" / "parcels" / "bundle").files == bundle.files
    assert Bundle.open(tmp_path / "data" / "parcels" / "bundle").digest == bundle.digest


def with_gate(workspace: Workspace, **gates: float) -> Workspace:
    strict = workspace.params.gates.model_copy(update=gates)
    return Workspace(workspace.root, workspace.params.model_copy(update={"gates": strict}), workspace.settings)


def test_evaluate_succeeds_and_bundle_refuses_with_each_reason(rebuilt: Workspace) -> None:
    before = rebuilt.files("bundle")
    strict = with_gate(rebuilt, auc=0.999, rows=10**6)
    strict.run("evaluate")
    with pytest.raises(GateError, match=r"no bundle: 2 of \d+ gates failed\n  rows: .*\n  auc: ") as refused:
        bundle_flow(strict.params, strict.settings)
    assert refused.value.exit_code == 3
    assert rebuilt.files("bundle") == before, "what was there stays"


def test_the_stage_exits_with_3_and_says_why(rebuilt: Workspace) -> None:
    with_gate(rebuilt, ece=0.0).run("evaluate")
    done = command(rebuilt.root, "python", "-m", "flows.bundle")
    assert done.returncode == 3
    assert re.search(r"no bundle: 1 of \d+ gates failed\n  ece: ", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_problem_whose_example_is_no_request_has_no_bundle(rebuilt: Workspace) -> None:
    before = rebuilt.files("bundle")
    (rebuilt.root / "problems" / "parcels" / "example.json").write_text('{"parcel": "P004711"}')
    done = command(rebuilt.root, "python", "-m", "flows.bundle")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "example.json of problem parcels is no Request of contracts.py: customer: Field required"
    )
    assert rebuilt.files("bundle") == before, "what was there stays"
