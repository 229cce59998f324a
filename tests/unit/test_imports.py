"""A stage loads what it uses, and not what that would bring along."""

import subprocess
import sys
from importlib import import_module

import pytest

from tandem.imports import without

HEAVY = {"mlflow", "pandas", "prefect", "redis", "sklearn", "sqlalchemy"}


@pytest.mark.parametrize("stage", ["tune", "train", "evaluate", "bundle"])
def test_a_stage_loads_nothing_heavy_that_it_does_not_use(stage: str) -> None:
    code = f"import sys, flows.{stage}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()


def test_what_is_hidden_cannot_be_imported_and_afterwards_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with without("colorsys"), pytest.raises(ImportError):
        import_module("colorsys")
    assert import_module("colorsys").rgb_to_hls(0, 0, 0) == (0, 0, 0)


def test_what_is_loaded_stays() -> None:
    with without("json", "no_such_module"):
        assert sys.modules["json"]
    assert sys.modules["json"]
    assert "no_such_module" not in sys.modules


def test_what_was_hidden_is_shown_again_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with pytest.raises(ZeroDivisionError), without("colorsys"):
        raise ZeroDivisionError
    assert "colorsys" not in sys.modules
