"""Published: one version and one run for each bundle, whoever publishes it, how often, and however it is cut off."""

import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from shutil import copytree, which

import pytest
from conftest import AS_OF, Workspace
from msgspec.structs import replace
from published import another, opened, runs, whole

from flows.move import bring_in, export
from flows.promote import promote
from flows.publish import publish
from tandem import archive
from tandem.boosting import read_booster
from tandem.bundle import Bundle, seal
from tandem.clock import Clock
from tandem.errors import BundleError, RegistryError
from tandem.files import sha256_of
from tandem.leaves import texts
from tandem.metrics import figures
from tandem.origin import Origin, _blobs, origin_of
from tandem.registry import Registry, State
from tandem.settings import Settings
from tasks.onnx import onnx_scores, write_onnx
from tasks.splits import matrix, part, read_rows

pytestmark = pytest.mark.usefixtures("no_git")


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


def with_less(bundle: Bundle, folder: Path) -> Bundle:
    """The same bundle with the first of its model's trees alone."""
    copytree(bundle.folder, folder)
    write_onnx(read_booster(folder / "model.json")[:1], folder / "model.onnx")
    seal(folder, bundle.annotations)
    return Bundle.open(folder)


def test_the_better_one_on_the_same_rows_challenges(
    registry: Registry, built: Workspace, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    settings = replace(tracked, data=built.settings.data)
    other = with_less(bundle, tmp_path / "other")
    rows = part(read_rows(built.data / "training_set")[0], "test")
    losses = {
        each.digest: figures(
            rows["label"].to_numpy(),
            onnx_scores(each.folder / "model.onnx", matrix(rows, each.spec.names)).astype(float),
        ).log_loss
        for each in (bundle, other)
    }
    worse, better = sorted((bundle, other), key=lambda each: -(losses[each.digest] or 0))
    assert losses[worse.digest] != losses[better.digest]
    publish(registry, worse, settings)
    _, proposal = publish(registry, better, settings)
    assert proposal["as"] == "challenger"
    said = f"better than the champion on the same {rows.height} rows: log_loss {losses[better.digest]} against "
    assert proposal["reason"].startswith(f"{said}{losses[worse.digest]}, auc ")
    assert (proposal["figures"]["log_loss"], proposal["champion"]["log_loss"]) == (
        losses[better.digest],
        losses[worse.digest],
    )
    promote(registry, "2", "champion", None, "it is better")
    _, proposal = publish(registry, worse, settings)
    assert (proposal["as"], proposal["reason"][:9]) == (None, "no better"), "held against who is champion now"


def test_a_champion_that_reads_what_is_no_more_is_not_compared(
    registry: Registry, built: Workspace, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    settings = replace(tracked, data=built.settings.data)
    copytree(bundle.folder, tmp_path / "old")
    more = [replace(bundle.spec.inputs[0], name=name) for name in ("x4", "x3", "x2", "x1")]
    replace(bundle.spec, inputs=(*bundle.spec.inputs, *more)).save(tmp_path / "old" / "features.json")
    seal(tmp_path / "old", bundle.annotations)
    publish(registry, Bundle.open(tmp_path / "old"), settings)
    _, proposal = publish(registry, bundle, settings)
    reason = "not compared: the champion reads x1, x2, x3, now unknown"
    assert {"as": None, "reason": reason}.items() <= proposal.items()


def test_a_champion_is_not_judged_by_rows_that_it_learned_from(
    registry: Registry, built: Workspace, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    settings = replace(tracked, data=built.settings.data)
    moments = part(read_rows(built.data / "training_set")[0], "test")["moment"]
    test_days = timedelta(days=bundle.json("params.json")["split"]["test_days"])
    later = bundle.as_of + timedelta(days=3)
    newer = another(bundle, tmp_path / "newer", **{"tandem.as_of": later.isoformat()})
    publish(registry, newer, settings)
    _, proposal = publish(registry, bundle, settings)
    unseen = moments.filter(moments >= later - test_days)
    assert 0 < unseen.len() < moments.len()
    assert f"on the same {unseen.len()} rows" in proposal["reason"]
    newest = another(bundle, tmp_path / "newest", **{"tandem.as_of": (bundle.as_of + 2 * test_days).isoformat()})
    promote(registry, publish(registry, newest, settings)[0].digest, "champion", None, "the newest")
    _, proposal = publish(registry, bundle, settings)
    assert proposal["reason"] == "not compared: the champion has learned from the rows it was tested on"


def test_a_run_shows_what_it_is_of(registry: Registry, bundle: Bundle, tracked: Settings) -> None:
    version, _ = publish(registry, bundle, tracked)
    run = registry.client.get_run(version.run)
    assert run.info.run_name == f"bundle {bundle.digest[:12]}"
    assert {"tandem.digest": bundle.digest, "tandem.commit": "unknown", "tandem.dirty": "false"}.items() <= (
        run.data.tags.items()
    )
    assert (version.as_of, version.commit) == (bundle.as_of, "unknown")
    said = bundle.json("reports/evaluation.json")
    shown = ("rows", "auc", "average_precision", "log_loss", "brier", "ece")
    assert version.figures == {name: said["overall"][name] for name in shown}
    told = {"": said["overall"], **{f"{name}.": of for name, of in said["baselines"].items()}}
    told |= {f"{month}.": of for month, of in said["months"].items()}
    expected = {f"{prefix}{name}": of[name] for prefix, of in told.items() for name in shown if of[name] is not None}
    assert run.data.metrics == pytest.approx(expected)
    assert run.data.params == texts(bundle.json("params.json"))
    assert {"as_of": "2024-04-15T00:00:00", "tune.depth": "[1, 4]"}.keys() <= run.data.params.keys()
    (published,) = [event for event in registry.events() if event["event"] == "publish"]
    assert (published["version"], published["commit"]) == (1, None)


def test_a_trial_shows_its_loss_and_what_was_tried(registry: Registry, bundle: Bundle, tracked: Settings) -> None:
    publish(registry, bundle, tracked)
    shown = {run.data.tags["tandem.trial"]: run for run in runs(registry) if "tandem.trial" in run.data.tags}
    for trial in bundle.json("trials.json"):
        run, told = shown[str(trial["number"])], texts(trial)
        assert run.info.run_name == f"trial {trial['number']}"
        assert run.data.params == {"state": trial["state"]}
        assert run.data.metrics == pytest.approx(
            {name: float(value) for name, value in told.items() if name != "state"}
        )


def test_leaves_of_what_is_nested_have_dotted_names() -> None:
    value = {"a": {"b": 1, "c": {"d": "x"}}, "e": [1, 2], "f": None, "g": True, "h": {}}
    assert texts(value) == {"a.b": "1", "a.c.d": "x", "e": "[1, 2]", "g": "true"}


class Interrupted:
    """MLflow's client, up to a call that is broken off."""

    def __init__(self, client: object, calls: int) -> None:
        self._client, self._left = client, calls

    def __getattr__(self, name: str) -> object:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return getattr(self._client, name)


def test_broken_off_anywhere_it_is_completed_by_the_next(registry: Registry, bundle: Bundle, tracked: Settings) -> None:
    client, calls = registry.client, 0
    while True:
        vars(registry)["client"] = Interrupted(client, calls)
        with suppress(KeyboardInterrupt):
            publish(registry, bundle, tracked)
            break
        calls += 1
    assert calls > 8, "it was broken off at many places"
    vars(registry)["client"] = client
    whole(registry, bundle)
    assert registry.settle() == State(generation=1, champion=bundle.digest)


def test_what_the_registry_holds_must_be_what_it_says(
    registry: Registry, bundle: Bundle, tracked: Settings, tmp_path: Path
) -> None:
    version, _ = publish(registry, bundle, tracked)
    target = tmp_path / "new" / "below" / "bundle"
    target.mkdir(parents=True)
    (target / "left.over").write_text("")
    assert registry.fetch(version, target).files == bundle.files, "what was there is gone"
    wrong = version.model_copy(update={"digest": "0" * 64})
    with pytest.raises(BundleError, match=f"version 1 should be {'0' * 64}, but the registry holds {bundle.digest}"):
        registry.fetch(wrong, target)
    assert Bundle.open(target).digest == bundle.digest, "and what was there stays"
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_what_the_registry_holds_damaged_is_written_again(built: Workspace, tracked: Settings) -> None:
    bundle, registry = Bundle.open(built.data / "bundle"), opened(tracked)
    version, _ = publish(registry, bundle, tracked)
    held = next(tracked.var.rglob("artifacts/bundle/model.onnx"))
    held.write_bytes(held.read_bytes()[:-1] + b"!")
    with pytest.raises(
        BundleError, match=rf"version 1 is damaged: .*`tandem publish` or .* of {bundle.digest[:12]} writes"
    ):
        registry.fetch(version, tracked.var / "fetched")
    assert publish(registry, bundle, tracked)[0] == version
    assert registry.fetch(version, tracked.var / "fetched").digest == bundle.digest


def git(folder: Path, *words: str) -> str:
    own = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        [which("git") or "", *own, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_where_git_cannot_tell_nothing_counts_as_committed(
    rebuilt: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = rebuilt.data / "bundle/source.tar"
    (rebuilt.root / ".git").mkdir()
    broken = origin_of(source, rebuilt.root)
    assert (broken.commit, broken.dirty) == (None, True)
    assert "git cannot tell which commit this is, so it counts as none: fatal: " in caplog.text
    git(rebuilt.root, "init", "--quiet")
    assert origin_of(source, rebuilt.root) == broken, "nothing was committed yet"
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(rebuilt.root / "nothing"))
        assert origin_of(source, rebuilt.root) == broken, "there is no git"


def test_a_folder_of_a_checkout_is_held_against_its_commit(rebuilt: Workspace) -> None:
    source = rebuilt.data / "bundle/source.tar"
    git(rebuilt.root.parent, "init", "--quiet")
    git(rebuilt.root, "add", "--all", "--force", "--", ".", ":!data/parcels")
    git(rebuilt.root, "commit", "--quiet", "--message", "all")
    assert origin_of(source, rebuilt.root).differ == ()
    code = rebuilt.root / "tasks/views.py"
    code.write_text(code.read_text() + "\n")
    git(rebuilt.root, "commit", "--quiet", "--all", "--amend", "--message", "other code")
    git(rebuilt.root, "reflog", "expire", "--expire=now", "--all")
    assert origin_of(source, rebuilt.root).differ == ("tasks/views.py",), "it is in no commit of a branch or tag"
    code.write_text(code.read_text()[:-1])
    git(rebuilt.root, "stash")
    assert origin_of(source, rebuilt.root).differ == ("tasks/views.py",), "nor is it when it is put aside"


def test_an_older_commit_that_holds_the_source_is_found(rebuilt: Workspace) -> None:
    source = rebuilt.data / "bundle/source.tar"
    git(rebuilt.root, "init", "--quiet")
    git(rebuilt.root, "add", "--all", "--force", "--", ".", ":!data/parcels")
    git(rebuilt.root, "commit", "--quiet", "--message", "all")
    held = git(rebuilt.root, "rev-parse", "HEAD")
    for name in ("params.yaml", "tasks/views.py"):
        file = rebuilt.root / name
        file.write_text(file.read_text() + "\n")
        git(rebuilt.root, "commit", "--quiet", "--all", "--message", f"another {name}")
    assert origin_of(source, rebuilt.root) == Origin(commit=git(rebuilt.root, "rev-parse", "HEAD~1")), "a blank line"
    params = rebuilt.root / "params.yaml"
    params.write_text(params.read_text().replace("trials: ", "trials: 1"))
    git(rebuilt.root, "commit", "--quiet", "--all", "--message", "more trials")
    git(rebuilt.root, "checkout", "--quiet", "--detach", held)
    assert origin_of(source, rebuilt.root) == Origin(commit=held)


def test_source_that_no_commit_holds_is_told_and_never_becomes_champion(
    rebuilt: Workspace, tracked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.open(rebuilt.data / "bundle")
    source = bundle.folder / "source.tar"
    assert origin_of(source, rebuilt.root).commit is None
    git(rebuilt.root, "init", "--quiet")
    quoted = rebuilt.root / "problems" / "größe.md"  # by git
    quoted.write_text("")
    code = {rebuilt.root / name: (rebuilt.root / name).read_text() for name in ("tandem/views.py", "tasks/views.py")}
    for path, text in code.items():
        path.write_text(text + "\n")
    git(rebuilt.root, "add", "--all", "--force", "--", ".", ":!data/parcels")
    git(rebuilt.root, "commit", "--quiet", "--message", "other code")
    assert "problems/größe.md" in _blobs(rebuilt.root, "HEAD")
    assert origin_of(source, rebuilt.root).differ == ("tandem/views.py", "tasks/views.py")
    registry = opened(tracked)
    monkeypatch.chdir(rebuilt.root)
    version, proposal = publish(registry, bundle, tracked)
    assert version.dirty
    assert registry.client.get_run(version.run).data.tags["tandem.commit"] == git(rebuilt.root, "rev-parse", "HEAD")
    assert registry.client.get_model_version("parcels", "1").tags["tandem.dirty"] == "tandem/views.py, tasks/views.py"
    assert "no commit holds" in proposal["reason"]
    assert registry.state() == State()
    with pytest.raises(RegistryError, match="no commit holds"):
        promote(registry, "1", "champion", None, "all the same")

    for path, text in code.items():
        path.write_text(text)
    params = rebuilt.root / "params.yaml"
    params.write_text(params.read_text().replace('as_of: "2024-04-15"', 'as_of: "2024-04-14"'))
    git(rebuilt.root, "commit", "--quiet", "--all", "--message", "the same code on another day, which is no change")
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
