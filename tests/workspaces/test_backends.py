"""Terraform's state in Postgres, as docs/operations.md shows it: a state for each workspace."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from pages import blocks, page
from stood import until

from tandem.workspace import LOCKED, READERS, TERRAFORM, Place
from tasks.containers import engine
from tasks.terraform import ELSEWHERE, terraform

SHOWN = [block.text for block in blocks(page("docs/operations.md")) if block.language == "hcl" and '"pg"' in block.text]
ONE = '-target=module.workspace.docker_volume.this["prometheus"]'


@pytest.fixture
def database(var: Path, tmp_path: Path) -> Iterator[str]:
    """A database, whose password is `password`."""
    image = json.loads((var / "workspaces" / LOCKED).read_text())["images"]["postgres"]
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("mlflow", "prefect"):
        (secrets / name).write_text("password")
        os.chown(secrets / name, READERS["postgres"], READERS["postgres"])
    os.chown(secrets, READERS["postgres"], READERS["postgres"])
    volumes = {str(secrets): {"bind": "/run/secrets", "mode": "ro"}}
    started = engine().containers.run(image, detach=True, volumes=volumes)
    try:
        started.reload()
        address = started.attrs["NetworkSettings"]["IPAddress"]
        until(lambda: started.exec_run(["pg_isready", "--host", address]).exit_code == 0, "it answers", 60)
        yield f"postgres://mlflow:password@{address}/mlflow?sslmode=disable"
    finally:
        started.remove(force=True, v=True)


def test_each_workspace_has_a_state_of_its_own_in_postgres(
    database: str, var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = SHOWN
    shutil.copytree(ROOT / TERRAFORM, tmp_path / TERRAFORM)
    (tmp_path / ELSEWHERE).write_text(shown)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PG_CONN_STR", database)
    one, other = Place("rehearsal", tmp_path / "var"), Place("dev", tmp_path / "var")
    one.folder.mkdir(parents=True)
    shutil.copyfile(var / "workspaces" / LOCKED, one.folder.parent / LOCKED)
    try:
        assert terraform(one, "apply", "-auto-approve", ONE) == 0
        assert terraform(one, "plan", "-detailed-exitcode", ONE) == 0, "it is known"
        assert terraform(other, "plan", "-detailed-exitcode", ONE) == 2, "and not here"
        written = [path for path in (tmp_path / "var").rglob("*") if path.is_file() and "providers" not in path.parts]
        assert not [path for path in written if b"password" in path.read_bytes()]
    finally:
        assert terraform(one, "destroy", "-auto-approve") == 0
