"""The whole graph by `tandem run` in a copy of the tree, and a served prediction, over real HTTP."""

import json
from pathlib import Path

import httpx
import pytest
from commands import command, fast_tree, serving, tandem
from conftest import ROOT, STAGES

OTHER_PROCESSOR = {
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX2,-FMA",
    "NPY_DISABLE_CPU_FEATURES": "AVX512F",
    "OMP_NUM_THREADS": "1",
}
CODE_OF_NUMPY = (
    "import flows; from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__; "
    "print([name for name in __cpu_dispatch__ if __cpu_features__[name]])"
)


def test_the_figures_stand_beside_the_baselines(ran: tuple[Path, str]) -> None:
    for name in ("model", "rates", "logistic", "defaults", "schedule_weather"):
        assert f"\n{name} " in ran[1]


def test_nothing_is_run_twice(ran: tuple[Path, str]) -> None:
    again = tandem(ran[0], "run")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("cached") == len(STAGES)


def test_the_example_is_answered(ran: tuple[Path, str]) -> None:
    example = json.loads((ROOT / "problems" / "flights" / "example.json").read_text())
    with serving(ran[0]) as address:
        answer = httpx.post(f"{address}/v1/predict", json={"instances": [example, example]})
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert 0 < first["score"] == second["score"] < 1
    assert first["id"] != second["id"]


def test_another_processor_at_another_path_gives_the_same_bytes(ran: tuple[Path, str], tmp_path: Path) -> None:
    other = fast_tree(tmp_path / "another place")
    done = tandem(other, "run", beside=OTHER_PROCESSOR)
    assert done.returncode == 0, done.stderr + done.stdout
    assert (other / "dvc.lock").read_text() == (ran[0] / "dvc.lock").read_text()


def test_stages_pin_what_numpy_would_choose_by_processor(ran: tuple[Path, str]) -> None:
    done = command(ran[0], "python", "-c", CODE_OF_NUMPY)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_figures_and_plots_are_dvcs_too(ran: tuple[Path, str]) -> None:
    shown = command(ran[0], "dvc", "metrics", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    (figures,) = json.loads(shown.stdout)[""]["data"].values()
    assert 0.5 < figures["data"]["auc"] < 1
    plots = command(ran[0], "dvc", "plots", "show", "--json")
    assert plots.returncode == 0, plots.stderr
    assert set(json.loads(plots.stdout)["data"]) == {"calibration", "costs", "slices", "trials"}


@pytest.mark.parametrize("words", [("tandem", "run"), ("dvc", "repro")])
def test_a_failed_gate_leaves_no_bundle_and_trains_nothing(ran: tuple[Path, str], words: tuple[str, str]) -> None:
    params = ran[0] / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("  ece: ", "  ece: 0.0  # "))
    done = tandem(ran[0], "run") if words[0] == "tandem" else command(ran[0], *words)
    status = tandem(ran[0], "status", "--json")
    params.write_text(before)
    assert done.returncode == (3 if words[0] == "tandem" else 255)
    assert "no bundle: 1 of " in done.stderr
    assert json.loads(status.stdout)["stages"] == dict.fromkeys(STAGES, "cached") | {"bundle": "changed"}


def test_another_cost_trains_nothing(ran: tuple[Path, str]) -> None:
    params = ran[0] / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("  miss: 3.0", "  miss: 4.0"))
    done = tandem(ran[0], "run")
    params.write_text(before)
    assert done.returncode == 0, done.stderr
    ran_now = [line.split()[0] for line in done.stdout.splitlines() if " ran " in line]
    assert ran_now == ["evaluate", "bundle"]
