"""dvc.yaml lists what each stage depends on: all of it, and nothing else."""

import pytest
from closure import closures, is_code, stages

LINKS = {"flows/graph.yaml", "pyproject.toml"}
"""What the bundle carries beside the stages' own code."""


@pytest.mark.parametrize("stage", list(stages()))
def test_a_stage_lists_all_code_that_it_can_reach(stage: str) -> None:
    assert sorted(closures()[stage] - set(stages()[stage]["deps"])) == []


@pytest.mark.parametrize("stage", list(stages()))
def test_a_stage_lists_no_code_that_it_cannot_reach(stage: str) -> None:
    listed = {dep for dep in stages()[stage]["deps"] if is_code(dep)}
    assert sorted(listed - closures()[stage] - LINKS) == []
