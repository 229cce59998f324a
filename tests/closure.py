"""What each stage of the pipeline is made of: every module that it can import, the packages on the way, the problem."""

from pathlib import Path

import grimp
import yaml

ROOT = Path(__file__).parents[1]
PROBLEM = "problems.flights"
ALWAYS = ("requirements.lock",)


def stages() -> dict[str, dict[str, list[str]]]:
    """Read dvc.yaml."""
    found: dict[str, dict[str, list[str]]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return found


def _file(module: str) -> str:
    if module.startswith("problems."):
        return "problems/${problem}"
    path = ROOT.joinpath(*module.split("."))
    found = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return found.relative_to(ROOT).as_posix()


def modules_of(stage: str, graph: grimp.ImportGraph) -> set[str]:
    """Name the files of the stage's own module, of all it imports however deep, and of their packages."""
    entry = f"flows.{stage}"
    modules = {entry}
    waiting = [entry]
    while waiting:
        module = waiting.pop()
        parents = {module.rsplit(".", depth)[0] for depth in range(1, module.count(".") + 1)}
        imported = graph.find_modules_directly_imported_by(module)
        if module == "tandem.problem":  # which imports the problem by its name, and so all of it counts
            imported |= {PROBLEM} | graph.find_descendants(PROBLEM)
        new = (imported | parents) - modules - {"problems"}
        modules |= new
        waiting += new
    return {_file(module) for module in modules}


def closures() -> dict[str, set[str]]:
    """Name all code that each stage depends on; the problem counts as one folder where it is loaded."""
    graph = grimp.build_graph("flows", "tasks", "tandem", PROBLEM, cache_dir=None)
    found = {stage: modules_of(stage, graph) | set(ALWAYS) for stage in stages()}
    found["bundle"] |= {file for files in found.values() for file in files}  # it carries the source of all of them
    return found


def is_code(dep: str) -> bool:
    """Tell code from what other stages made."""
    return not dep.startswith("data/")


if __name__ == "__main__":
    for name, files in closures().items():
        print(f"{name}:", *(f"      - {file}" for file in sorted(files)), sep="\n")  # noqa: T201
