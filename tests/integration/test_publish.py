"""Published: one version and one run for each bundle, whoever publishes it, how often, and however it is cut off."""

import subprocess
from pathlib import Path
from shutil import copytree, which

import pytest
from conftest import AS_OF, Workspace
from msgspec.structs import replace
from published import another, opened, whole

from flows.move import bring_in, export
from flows.promote import promote
from flows.publish import publish
from tandem import archive
from tandem.bundle import Bundle, seal
from tandem.clock import Clock
from tandem.errors import BundleError, RegistryError
from tandem.files import sha256_of
from tandem.origin import origin_of
from tandem.registry import Registry, State
from tandem.settings import Settings


@pytest.fixture
def bundle(built: Workspace) -> Bundle:
    return Bundle.open(built.data / "bundle")


@pytest.fixture(autouse=True)
def _no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish from a folder that is no checkout."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def registry(tracked: Settings) -> Registry:
    return opened(tracked)


def test_the_first_becomes_champion_and_again_nothing_changes(
    registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    version, proposal = publish(registry, bundle, tracked)
    assert (version.version, version.digest) == (1, bundle.digest)
    assert proposal["reason"].startswith("the first of this workspace")
    whole(registry, bundle)
    assert registry.state() == State(generation=1, champion=bundle.digest)
    before = registry.events()
    assert publish(registry, bundle, tracked)[1]["reason"] == "it is the champion"
    assert registry.events() == before
    whole(registry, bundle)
    assert registry.fetch(version, tmp_path / "fetched").digest == bundle.digest


def test_by_policy_the_first_becomes_nothing(registry: Registry, bundle: Bundle, tracked: Settings) -> None:
    _, proposal = publish(registry, bundle, replace(tracked, first_publish="nothing"))
    assert proposal["as"] == "champion"
    assert registry.state() == State()


def test_a_second_is_judged_on_the_same_rows_and_proposed_or_not(
    registry: Registry, built: Workspace, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    settings = replace(tracked, data=built.settings.data)
    publish(registry, bundle, settings)
    same = another(bundle, tmp_path / "same", note="the same model")
    version, proposal = publish(registry, same, settings)
    assert (version.version, proposal["as"]) == (2, None)
    assert proposal["reason"].startswith("no better than the champion on the same 569 rows")
    assert proposal["figures"] == proposal["champion"]
    assert registry.find("2").proposal == proposal
    promote(registry, "2", "challenger", 0.1, "try it")
    assert registry.state().challenger == same.digest

    _, proposal = publish(registry, another(bundle, tmp_path / "far", note="elsewhere"), tracked)
    assert proposal["reason"] == "not compared: the rows it was tested on are not here"


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        [which("git") or "", *own, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_source_that_no_commit_holds_is_told_and_never_becomes_champion(
    rebuilt: Workspace, tracked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(rebuilt.data / "bundle")
    source = bundle.folder / "source.tar"
    assert origin_of(source, rebuilt.root).commit is None
    git(rebuilt.root, "init", "--quiet")
    git(rebuilt.root, "add", "--all", "--force", "--", ".", ":!data/parcels")
    git(rebuilt.root, "commit", "--quiet", "--message", "all")
    origin = origin_of(source, rebuilt.root)
    assert (origin.commit, origin.differ) == (git(rebuilt.root, "rev-parse", "HEAD"), ())

    params = rebuilt.root / "params.yaml"
    params.write_text(params.read_text().replace('as_of: "2024-04-15"', 'as_of: "2024-04-14"'))
    git(rebuilt.root, "commit", "--quiet", "--all", "--message", "another day")
    assert not origin_of(source, rebuilt.root).dirty, "the day alone is no change"

    code = rebuilt.root / "tandem" / "views.py"
    code.write_text(code.read_text() + "\n")
    git(rebuilt.root, "commit", "--quiet", "--all", "--message", "other code")
    assert origin_of(source, rebuilt.root).differ == ("tandem/views.py",)
    registry = opened(tracked)
    monkeypatch.chdir(rebuilt.root)
    version, proposal = publish(registry, bundle, tracked)
    assert version.dirty
    assert "no commit holds" in proposal["reason"]
    assert registry.state() == State()
    with pytest.raises(RegistryError, match="no commit holds"):
        promote(registry, "1", "champion", None, "all the same")

    git(rebuilt.root, "revert", "--quiet", "--no-edit", "HEAD")
    version, proposal = publish(registry, bundle, tracked)
    assert (version.version, version.commit) == (1, git(rebuilt.root, "rev-parse", "HEAD"))
    assert proposal["reason"].startswith("the first of this workspace"), "a commit holds it now"
    assert registry.versions() == [version]
    assert registry.client.get_run(version.run).data.tags["tandem.dirty"] == "false"
    assert [event["event"] for event in registry.events()] == ["publish", "commit", "promote"]


@pytest.mark.parametrize("name", ["model.onnx", "features.json", "source.tar"])
def test_a_bundle_that_lacks_a_part_is_not_published(
    registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path, name: str
) -> None:
    copytree(bundle.folder, tmp_path / "less")
    (tmp_path / "less" / name).unlink()
    seal(tmp_path / "less", bundle.annotations)
    packed = archive.export(Bundle.open(tmp_path / "less"), tmp_path / "less.tar")
    with pytest.raises(BundleError, match=f"holds no {name}: it is not published"):
        bring_in(registry, packed, tracked)
    assert registry.versions() == []
    assert registry.state() == State()


def test_exported_and_imported_it_is_the_same_bundle(
    registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    publish(registry, bundle, tracked)
    first = export(registry, "champion", tmp_path / "first.tar")
    second = archive.export(bundle, tmp_path / "second.tar")
    assert sha256_of(first) == sha256_of(second)
    elsewhere = replace(tracked, first_publish="nothing")
    version, _ = bring_in(registry, first, elsewhere)
    assert (version.version, version.digest) == (1, bundle.digest)
    other = Registry("flights", tracked, Clock.stopped(AS_OF))
    with pytest.raises(BundleError, match="is a bundle of problem parcels"):
        bring_in(other, first, elsewhere)
