"""`tandem diff`: what differs between two bundles, for a terminal, a review or a program."""

import json
import re
from pathlib import Path

import pytest
from commands import Tandem
from conftest import Workspace

from tandem.bundle import Bundle, seal


@pytest.fixture
def other(built: Workspace, rebuilt: Workspace) -> Path:
    """A bundle of the same data with other params, and with another meaning of an input."""
    costs = built.params.costs.model_copy(update={"miss": 5.0})
    changed = Workspace(rebuilt.root, built.params.model_copy(update={"costs": costs}), rebuilt.settings)
    changed.run("evaluate", "bundle")
    folder = rebuilt.data / "bundle"
    features = json.loads((folder / "features.json").read_text())
    features["inputs"][0]["meaning"] = "this | or that"
    (folder / "features.json").write_text(json.dumps(features))
    evaluation = json.loads((folder / "reports" / "evaluation.json").read_text())
    evaluation["overall"]["auc"] += 0.5
    del evaluation["slices"]["depot"]["judged"]["B1"]
    (folder / "reports" / "evaluation.json").write_text(json.dumps(evaluation))
    inputs = json.loads((folder / "inputs.json").read_text())
    inputs["environment"] = "0" * 64
    (folder / "inputs.json").write_text(json.dumps(inputs))
    seal(folder, Bundle.open(built.data / "bundle").annotations)
    return folder


def test_diff_of_a_bundle_with_itself_is_empty(tandem: Tandem, built: Workspace) -> None:
    folder = str(built.data / "bundle")
    result = json.loads(tandem("diff", folder, folder, "--json")[1])
    assert [result[part] for part in ("data", "features", "params", "files")] == [{}] * 4
    assert all(a == b for a, b in result["figures"].values())
    assert tandem("diff", folder, folder)[1].count("the same") == 3


def test_diff_names_data_features_params_and_figures_that_differ(tandem: Tandem, built: Workspace, other: Path) -> None:
    a = Bundle.open(built.data / "bundle")
    code, out, _ = tandem("diff", str(a.folder), str(other), "--json")
    result = json.loads(out)
    assert code == 0
    assert result["bundles"] == [a.digest, Bundle.open(other).digest]
    assert result["params"] == {"costs.miss": [2.0, 5.0]}
    assert result["data"] == {"environment": [a.json("inputs.json")["environment"], "0" * 64]}
    assert list(result["features"]) == [a.spec.names[0]]
    assert {"decision.json", "features.json"} <= result["files"].keys()
    assert result["figures"]["depot = B1"][1] is None
    assert {"all", "month = 2024-04", "service = express"} <= result["figures"].keys()


@pytest.mark.parametrize("markdown", [False, True])
def test_diff_is_drawn_for_a_terminal_or_a_review(
    tandem: Tandem, built: Workspace, other: Path, *, markdown: bool
) -> None:
    code, out, _ = tandem("diff", str(built.data / "bundle"), str(other), *(["--markdown"] if markdown else []))
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("## ")] == [
        "## data",
        "## features",
        "## params",
        "## figures, b less a",
    ]
    there = Bundle.open(built.data / "bundle").json("inputs.json")["environment"]
    assert re.search(rf"environment[ |]+{there[:12]}[ |]+{'0' * 12}[ |]*$", out, re.MULTILINE), "digests as elsewhere"
    overall, cut = (
        next(line for line in out.splitlines() if line.removeprefix("| ").startswith(g)) for g in ("all", "depot = B1")
    )
    assert "0.5000" in overall, "by how much a figure changed"
    assert "+" not in cut
    if markdown:
        tables = [line for line in out.splitlines() if line.startswith("|")]
        assert {line.replace("\\|", "").count("|") for line in tables} == {4, 8}, "a bar within a cell breaks no table"


def test_diff_refuses_a_damaged_bundle(tandem: Tandem, built: Workspace, other: Path) -> None:
    (other / "card.md").write_text("better than it is")
    code, _, err = tandem("diff", str(built.data / "bundle"), str(other))
    assert code == 1
    assert "card.md is not the file that the manifest names" in err
