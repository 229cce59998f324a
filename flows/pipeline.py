"""Walk the pipeline's graph: run what changed, in order, and say what was done."""

from collections.abc import Callable
from pathlib import Path

from tandem.graph import Graph, StageRun
from tandem.run import operation


@operation
def pipeline(root: Path, tell: Callable[[StageRun], None], *, force: bool = False) -> list[StageRun]:
    """Run each stage whose inputs changed, as `dvc repro` does."""
    graph = Graph(root)
    done = []
    for name in graph.names:
        done.append(graph.run(name, force=force))
        tell(done[-1])
    return done
