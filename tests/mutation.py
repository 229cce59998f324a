"""Break what must not be wrong, in one place at a time, and see whether a test notices; writes docs/mutation.md.

Each mutant is written into a copy of the tree, so that processes and copies of the tree that tests make hold it too.
What was found is kept in build/mutation.txt, so that a run that was ended goes on, and judges again what is new alone.

Example: python tests/mutation.py --only promote
"""

import argparse
import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from queue import Queue
from shutil import which
from tempfile import TemporaryDirectory
from threading import Lock

import yaml
from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]
WORKERS = len(os.sched_getaffinity(0))
STORES = ["mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"]
PRELOADED = ["pytest", "hypothesis", "polars", "duckdb", "dataframely", "pydantic", "xgboost", "mlflow", *STORES]
"""What every mutant's process would import for itself; nothing of ours."""
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.yaml"
"""Mutants that do the same as the code does, each with the reason."""
apart = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Target:
    """What is broken, and the tests that should notice: the fast ones."""

    paths: tuple[str, ...]
    tests: tuple[str, ...]
    only: tuple[str, ...] = ()
    """The functions and classes that are meant, where it is not all of the file."""
    but: tuple[str, ...] = ()
    """Those that are another target's."""
    keep: bool = False
    """Whether what its tests start from is no different for any mutant, and so is made once."""

    def chosen(self, names: set[str]) -> bool:
        """Say whether what stands in functions and classes of these names is meant."""
        return (not self.only or not names.isdisjoint(self.only)) and names.isdisjoint(self.but)


HELD = ("fetch", "download", "_check_sizes", "attestations", "attest", "refuse", "refused")
"""What of the registry is about bundles and what was said of them, and not about who takes traffic."""
FETCHED = "test_attest or damaged_in_the_registry or without_a_champion"
"""The tests of that which are fast."""
TARGETS = {
    "contracts": Target(("tandem/contracts.py",), ("tests/unit/test_contracts.py",)),
    "contracts of flights": Target(("problems/flights/contracts.py",), ("tests/unit/test_flights.py",)),
    "known-at": Target(("tandem/warehouse.py",), ("tests/unit/test_warehouse.py", "tests/unit/test_time.py")),
    "known-at of facts": Target(("problems/flights/facts",), ("tests/unit/test_flights.py",)),
    "as-of joins": Target(("tasks/training_set.py",), ("tests/unit/test_training_set.py", "tests/unit/test_time.py")),
    "gates": Target(
        ("tasks/evaluate.py", "tasks/bundle.py"),
        ("tests/unit/test_evaluate.py",),
        ("verdict", "extreme", "judge", "check_gates"),
    ),
    "manifest": Target(
        ("tandem/bundle.py",), ("tests/integration/test_bundle.py", "-k", "not rebuilds and not exits and not golden")
    ),
    "publish": Target(("tasks/publish.py",), ("tests/integration/test_publish.py",), keep=True),
    "promote": Target(
        ("tasks/promote.py", "tandem/registry.py"),
        ("tests/unit/test_promote.py", "tests/integration/test_registry.py", "tests/integration/test_publish.py"),
        but=HELD,
        keep=True,
    ),
    "fetch and attest": Target(
        ("tandem/registry.py",),
        ("tests/integration/test_attest.py", "tests/integration/test_sync_refusals.py", "-k", FETCHED),
        only=HELD,
        keep=True,
    ),
    "verify": Target(
        ("tasks/verify.py", "tandem/tarball.py"), ("tests/unit/test_verify.py", "tests/unit/test_tarball.py")
    ),
}

TEMPLATE = """# Mutation

What must not be wrong is broken on purpose, in one place at a time, and the fast tests that should notice are run on it.
Written by `make mutation`; do not edit.

{day}, commit {commit}, cosmic-ray {cosmic_ray}: `python tests/mutation.py`

| what | where | mutants | killed | the same | survived | killed of those that differ |
|---|---|---:|---:|---:|---:|---:|
{table}

A mutant is a change of one place: a comparison by its opposite or its edge, a sum by a difference, a number one more or
less, `and` by `or`, a condition by its negation, a text by another, a loop, an error or a call left out, a decorator
taken away, and in SQL comparisons, joins, signs and the moments that facts are known from. What only tells something to
people is left alone. Each is written into a copy of the tree and judged by a process of its own, so that code which
tests run in processes and copies holds it too; before that, the tests must pass on the code as it is and fail when
the file holds no code at all.

## Mutants that do the same

{equivalent}

## Survivors

{survived}
"""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    target: str
    mutant: Mutant
    killed: bool


def git(*words: str) -> str:
    """Ask git about the tree."""
    own = [which("git") or "git", *words]
    return subprocess.run(own, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def copy_of_tree(folder: Path) -> Path:
    """Copy what git knows and what is not committed yet."""
    for name in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def judge(tree: Path, target: Target, *, compiled: bool) -> None:
    """Run tests in a tree, as a process of its own, and exit as they do; only right code is kept compiled."""
    import pytest  # noqa: PLC0415 - it is there already

    os.chdir(tree)
    os.setpgid(0, 0)
    os.environ |= {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "" if compiled else "1"}
    sys.dont_write_bytecode = not compiled
    if target.keep:
        os.environ["TANDEM_TESTS_KEEP"] = str(tree.parent)
    sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ROOT) not in (ROOT, ROOT / "tests"))]
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(quiet, stream)
    options = (
        "-x",
        "-q",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "-p",
        "no:cacheprovider",
        f"--basetemp={tree.parent / 'tmp'}",
    )
    os._exit(int(pytest.main([*options, *target.tests])))


def passes(tree: Path, target: Target, patience: float, *, compiled: bool = False) -> bool:
    """Tell whether all tests pass in a tree, and in time."""
    process = apart.Process(target=judge, args=(tree, target), kwargs={"compiled": compiled})
    process.start()
    process.join(patience)
    if process.exitcode is None and process.pid:
        os.killpg(process.pid, 9)
    process.join()
    return process.exitcode == 0


def mutated(tree: Path, mutant: Mutant, target: Target, patience: float) -> bool:
    """Tell whether tests notice a mutant."""
    path = tree / mutant.path
    right = path.read_text()
    path.write_text(mutant.text)
    try:
        return not passes(tree, target, patience)
    finally:
        path.write_text(right)


def files_of(target: Target) -> list[Path]:
    """Give the files of a target; of a folder those with SQL."""
    paths = [ROOT / name for name in target.paths]
    return [file for path in paths for file in (sorted(path.glob("*.sql")) if path.is_dir() else [path])]


def patience_for(tree: Path, target: Target) -> float:
    """Run the tests on the right code and on none at all, and say how long they may take.

    Raises:
        ValueError: they fail on the right code, or do not load the code at all.

    """
    start = time.perf_counter()
    if not passes(tree, target, patience=600, compiled=True):
        msg = f"{' '.join(target.tests)}: fails as it is"
        raise ValueError(msg)
    patience = 60 + 10 * (time.perf_counter() - start)
    for path in files_of(target):
        name = path.relative_to(ROOT).as_posix()
        if not mutated(tree, Mutant(name, "all of it", "nothing", "raise AssertionError\n"), target, patience):
            msg = f"{' '.join(target.tests)}: does not load {name}"
            raise ValueError(msg)
    return patience


class Known:
    """What an earlier run found: a mutant is judged once by the same tests."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        path.parent.mkdir(exist_ok=True)
        path.touch()
        self._path, self._lock = path, Lock()
        self._killed = {key: killed == "killed" for key, killed in map(str.split, path.read_text().splitlines())}

    def judged(self, mutant: Mutant, target: Target, judge: Callable[[], bool]) -> bool:
        """Look it up, or judge it and keep it."""
        tests = [(ROOT / name).read_text() for name in target.tests if name.endswith(".py")]
        key = sha256("\0".join([mutant.path, mutant.text, *tests]).encode()).hexdigest()
        if key not in self._killed:
            self._killed[key] = judge()
            with self._lock, self._path.open("a") as file:
                file.write(f"{key} {'killed' if self._killed[key] else 'survived'}\n")
        return self._killed[key]


def verdicts(name: str, trees: Queue[Path], known: Known, every: int) -> Iterator[Verdict]:
    """Judge all mutants of a target, as many at once as there are trees."""
    target, free = TARGETS[name], [trees.get() for _ in range(WORKERS)]
    patience = max(patience_for(tree, target) for tree in free)
    for tree in free:
        trees.put(tree)

    def judge(mutant: Mutant) -> bool:
        tree = trees.get()
        try:
            return mutated(tree, mutant, target, patience)
        finally:
            trees.put(tree)

    found = [mutant for path in files_of(target) for mutant in mutants_of(path, ROOT, target.chosen)]
    with ThreadPoolExecutor(WORKERS) as pool:
        chosen = found[::every]
        killed = pool.map(lambda mutant: known.judged(mutant, target, lambda: judge(mutant)), chosen)
        yield from (Verdict(name, *pair) for pair in zip(chosen, killed, strict=True))


def said(*words: object) -> None:
    """Tell how far it is."""
    sys.stdout.write(f"{' '.join(map(str, words))}\n")
    sys.stdout.flush()


def write_results(found: list[Verdict]) -> None:
    """Write docs/mutation.md."""
    reasons: dict[str, str] = yaml.safe_load(EQUIVALENT.read_text())
    alive = [verdict for verdict in found if not verdict.killed]
    equal = [verdict for verdict in alive if verdict.mutant.name in reasons]
    lines = []
    for name in (*TARGETS, "all"):
        own = [verdict for verdict in found if name in (verdict.target, "all")]
        same, killed = sum(verdict in equal for verdict in own), sum(verdict.killed for verdict in own)
        where = ", ".join(f"`{path}`" for path in TARGETS[name].paths) if name in TARGETS else ""
        share = f"{killed / max(1, len(own) - same):.1%}"
        lines.append(f"| {name} | {where} | {len(own)} | {killed} | {same} | {len(own) - killed - same} | {share} |")
    text = TEMPLATE.format(
        day=datetime.now(UTC).date(),
        commit=git("rev-parse", "--short", "HEAD").strip(),
        cosmic_ray=version("cosmic-ray"),
        table="\n".join(lines),
        equivalent="\n".join(f"- {shown(each.mutant)}: {reasons[each.mutant.name]}" for each in equal) or "None.",
        survived="\n".join(f"- {shown(each.mutant)}" for each in alive if each not in equal) or "None.",
    )
    (ROOT / "docs" / "mutation.md").write_text(text)


def shown(mutant: Mutant) -> str:
    """Write a mutant for people."""
    return f"`{mutant.path}`: `{mutant.was}` as `{mutant.now}`"


def main() -> None:
    """Judge the mutants of all targets, or of some; of all of them the result is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS), metavar="TARGET")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="judge each Nth mutant, for a first look")
    asked = parser.parse_args()
    chosen: list[str] = asked.only
    found, known = list[Verdict](), Known(ROOT / "build" / "mutation.txt")
    importlib.import_module("flows")  # pins the processor before numpy is there
    apart.set_forkserver_preload(PRELOADED)
    with TemporaryDirectory(prefix="tandem-mutation-") as folder:
        trees: Queue[Path] = Queue()
        for number in range(WORKERS):
            trees.put(copy_of_tree(Path(folder) / str(number) / "tree"))
        for name in chosen:
            own = list(verdicts(name, trees, known, asked.every))
            found += own
            said(f"{name}: {sum(verdict.killed for verdict in own)} of {len(own)} killed")
            for verdict in own:
                if not verdict.killed:
                    said("  survived", verdict.mutant.name)
    if chosen == list(TARGETS) and asked.every == 1:
        write_results(found)


if __name__ == "__main__":
    main()
