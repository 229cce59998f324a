"""A bundle is proved by building it again; what is not the same, or is missing, is named."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import tandem
from conftest import Workspace

from tandem.bundle import Bundle, seal
from tandem.errors import CannotVerifyError, DivergesError

Changed = dict[str, Callable[[bytes], bytes]]


def resealed(bundle: Bundle, folder: Path, changed: Changed) -> Bundle:
    """A bundle whose source was changed and which was sealed again, as a forger would."""
    shutil.copytree(bundle.folder, folder)
    with tarfile.open(bundle.folder / "source.tar") as old, tarfile.open(folder / "source.tar", "w") as new:
        for member in old:
            data = (old.extractfile(member) or io.BytesIO()).read()
            data = changed.get(member.name, bytes)(data)
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    seal(folder, bundle.annotations)
    return Bundle.open(folder)


def verify(workspace: Workspace, bundle: Path | None = None) -> tuple[int, str]:
    words = ["--bundle", str(bundle)] if bundle else []
    done = tandem(workspace.root, "verify", *words)
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


def test_built_again_it_is_identical_without_dvc_and_any_cache(built: Workspace) -> None:
    before = built.files()
    done = tandem(built.root, "verify")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "identical"), done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:-1]] == [
        "ingest", "views", "training_set", "tune", "train", "evaluate", "bundle",
    ]  # fmt: skip
    assert built.files() == before


PLANTED = {
    "views courier.pace.parquet": ("problems/parcels/views/courier.pace.sql", b"interval 6 hour", b"interval 7 hour"),
    "training_set training_set.json requests": ("tasks/training_set.py", b": rows.height", b": 1 + rows.height"),
    "evaluate evaluation.json": ("params.yaml", b"  resamples: ", b"  resamples: 1"),
}
"""Where it shows first that a file of the source is another one, and what was changed in it."""


@pytest.mark.parametrize("shows", PLANTED)
def test_other_code_than_made_it_diverges_where_it_shows_first(built: Workspace, tmp_path: Path, shows: str) -> None:
    name, was, now = PLANTED[shows]
    bundle = Bundle.open(built.data / "bundle")
    forged = resealed(bundle, tmp_path / "bundle", {name: lambda text: text.replace(was, now)})
    assert forged.files["source.tar"] != bundle.files["source.tar"]
    code, said = verify(built, forged.folder)
    assert code == DivergesError.exit_code
    assert said.replace(": ", " ").startswith(
        f"diverges views views/{shows[6:]}" if shows.startswith("views") else f"diverges {shows}"
    )


def test_a_version_of_the_registry_is_verified_by_its_name(rebuilt: Workspace, tmp_path: Path) -> None:
    beside = {"TANDEM_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    assert tandem(rebuilt.root, "publish", beside=beside).returncode == 0
    digest = Bundle.open(rebuilt.data / "bundle").digest
    done = tandem(rebuilt.root, "verify", digest[:12], beside=beside)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "identical"), done.stderr
    assert digest in done.stdout
    done = tandem(rebuilt.root, "verify", "7", beside=beside)
    assert (done.returncode, done.stderr) == (1, f"there is no version '7'; there are 1 ({digest[:12]})\n")


def test_a_raw_file_that_changed_by_a_byte_diverges(rebuilt: Workspace) -> None:
    raw = min(rebuilt.settings.landing.iterdir())
    raw.chmod(0o644)
    content = bytearray(raw.read_bytes())
    content[len(content) // 2] ^= 1
    raw.write_bytes(content)
    code, said = verify(rebuilt)
    assert (code, said.split()[:2]) == (DivergesError.exit_code, ["diverges:", "landing"])


def test_what_is_missing_is_named(rebuilt: Workspace, tmp_path: Path) -> None:
    raw = min(rebuilt.settings.landing.iterdir())
    raw.unlink()
    code, said = verify(rebuilt)
    assert code == CannotVerifyError.exit_code
    assert said.startswith(f"cannot: landing {raw.name}")

    bundle = Bundle.open(rebuilt.data / "bundle")
    forged = resealed(
        bundle, tmp_path / "bundle", {"requirements.lock": lambda text: text.replace(b"polars==2", b"polars==9")}
    )
    inputs = json.loads((forged.folder / "inputs.json").read_text())
    assert inputs["environment"], "the lock that was there is named"
    raw.write_bytes(b"")
    raw.unlink()
    code, said = verify(rebuilt, forged.folder)
    assert (code, said.split()[0]) == (CannotVerifyError.exit_code, "cannot:")
