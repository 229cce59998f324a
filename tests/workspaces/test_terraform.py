"""Both workspaces are one module: the same plan for the same variables, and nothing to change once it was applied."""

import json
import os
import re
import subprocess
from pathlib import Path
from shutil import which

import pytest
from conftest import ROOT

from tandem.workspace import LOCKED, TERRAFORM

pytestmark = pytest.mark.skipif(not which("terraform"), reason="terraform is not on the path")


def terraform(name: str, folder: Path, *words: str) -> str:
    (folder / name).mkdir(exist_ok=True)  # where its state would be: so there is such a workspace
    environment = {"TF_WORKSPACE": name, "TF_DATA_DIR": str(folder / "data"), "TF_VAR_secrets": "/secrets"}
    command = ["terraform", f"-chdir={ROOT / TERRAFORM}", *words]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def planned(name: str, variables: str, var: Path, folder: Path, *more: str) -> object:
    """Plan a workspace that is nowhere yet, with the variables of one of them."""
    folder.mkdir()
    images, plan = var / "workspaces" / LOCKED, folder / "plan"
    given = [f"-var-file={ROOT / TERRAFORM / variables}.tfvars", f"-var-file={images}", f"-var=name={name}", *more]
    terraform(name, folder, "init", "-input=false", f"-backend-config=workspace_dir={folder}")
    terraform(name, folder, "plan", "-input=false", f"-out={plan}", *given)
    found = json.loads(terraform(name, folder, "show", "-json", str(plan)))
    text = json.dumps([found["planned_values"], found["configuration"]], sort_keys=True)
    return json.loads(re.sub(rf'\btandem-{name}-|(?<="){name}(?=")|(?<="WORKSPACE=){name}(?=")', "@", text))


@pytest.mark.parametrize("variables", ["dev", "prod"])
def test_the_same_variables_give_the_same_plan_in_both(variables: str, var: Path, tmp_path: Path) -> None:
    assert planned("dev", variables, var, tmp_path / "a") == planned("prod", variables, var, tmp_path / "b")


def test_other_variables_give_another_plan(var: Path, tmp_path: Path) -> None:
    assert planned("dev", "dev", var, tmp_path / "a") != planned("dev", "prod", var, tmp_path / "b")


def test_grafana_is_there_where_its_image_is(var: Path, tmp_path: Path) -> None:
    image = f"grafana/grafana@sha256:{'1' * 64}"
    without, with_it = (
        json.dumps(planned("dev", "dev", var, tmp_path / name, *more))
        for name, more in (("a", ()), ("b", (f'-var=grafana={{image="{image}"}}',)))
    )
    assert image not in without
    assert image in with_it


def test_the_variables_of_another_workspace_are_refused(var: Path, tmp_path: Path) -> None:
    given = [f"-var-file={ROOT / TERRAFORM / 'dev.tfvars'}", f"-var-file={var / 'workspaces' / LOCKED}"]
    terraform("prod", tmp_path, "init", "-input=false", f"-backend-config=workspace_dir={tmp_path}")
    with pytest.raises(AssertionError, match="this is the workspace prod"):
        terraform("prod", tmp_path, "plan", "-input=false", *given)
