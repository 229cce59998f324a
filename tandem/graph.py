"""The pipeline's graph, as dvc.yaml states it. No other module uses those parts of DVC that `dvc.api` hides."""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from tandem.errors import MissingError, ParamsError, StageError

State = Literal["cached", "changed", "never run", "busy"]
"""Busy: it is being made, or what it needs is."""
BARS = ("dvc.progress", "dvc_data.callbacks")
"""The loggers by whose level DVC draws bars on a terminal, into our picture."""
EXIT = re.compile(r"exited with (-?\d+)")


@dataclass(frozen=True)
class StageRun:
    """What running one stage came to."""

    name: str
    ran: bool
    seconds: float


class Graph:
    """The stages of the pipeline in this folder."""

    def __init__(self, root: Path) -> None:
        """Open the DVC repository.

        Raises:
            MissingError: the folder has none.

        """
        from dvc.exceptions import DvcException  # noqa: PLC0415 - 1 s
        from dvc.repo import Repo  # noqa: PLC0415

        logging.getLogger("dvc").setLevel(logging.ERROR)
        for bars in BARS:
            logging.getLogger(bars).setLevel(logging.CRITICAL)
        if not (root / "dvc.yaml").is_file():
            msg = f"{root.resolve()} has no dvc.yaml: run this in the project's folder"
            raise MissingError(msg)
        try:
            self._repo: Any = Repo(str(root), _wait_for_lock=True)
        except DvcException as exc:
            msg = f"DVC cannot work here: {exc}. A folder without git needs `dvc config core.no_scm true`"
            raise MissingError(msg) from exc

    @property
    def names(self) -> list[str]:
        """The stages in an order in which each comes after those it needs."""
        import networkx as nx  # noqa: PLC0415 - comes with DVC

        return [stage.name for stage in nx.dfs_postorder_nodes(self._graph)]

    def mend(self) -> None:
        """Take away what DVC cannot go on with after a kill: half a dvc.lock, and the locks of those who are no more.

        For who is alone at it: a process of another container is nobody here, and its locks would go.
        What dvc.lock said is found again in DVC's cache of runs.
        """
        from dvc.dvcfile import Lockfile  # noqa: PLC0415
        from dvc.exceptions import DvcException  # noqa: PLC0415

        with self._repo.lock:
            pinned = Path(self._repo.root_dir) / "dvc.lock"
            try:
                Lockfile(self._repo, str(pinned)).load()
            except DvcException:
                pinned.unlink()
            held = Path(self._repo.tmp_dir) / "rwlock"
            if held.is_file() and not any(map(_was_there(held.stat().st_mtime), _holders(held))):
                held.unlink()
        self._repo._reset()  # noqa: SLF001

    @property
    def cache(self) -> str:
        """Where the outputs of all runs are kept."""
        return str(self._repo.cache.local_cache_dir)

    @property
    def needs(self) -> dict[str, set[str]]:
        """The stages that each stage needs."""
        graph = self._graph
        return {stage.name: {before.name for before in graph.successors(stage)} for stage in graph}

    @property
    def _graph(self) -> Any:  # noqa: ANN401 - DVC's
        """What dvc.yaml says.

        Raises:
            ParamsError: DVC cannot make sense of it, or of params.yaml in it.

        """
        from dvc.exceptions import DvcException  # noqa: PLC0415

        try:
            return self._repo.index.graph
        except DvcException as exc:
            said = " ".join(": ".join(dict.fromkeys(str(cause) for cause in _causes(exc))).split()).rstrip(".")
            msg = f"DVC cannot go by dvc.yaml: {said}. `git diff dvc.yaml params.yaml` shows what was changed"
            raise ParamsError(msg) from exc

    def states(self) -> dict[str, State]:
        """Say of each stage whether its outputs are what its inputs gave."""
        with self._repo.lock:
            return {name: self._state(self._stage(name)) for name in self.names}

    def _state(self, stage: Any) -> State:  # noqa: ANN401 - DVC's
        from dvc.lock import LockError  # noqa: PLC0415

        if not any(_is_kept(out) for out in stage.outs):
            return "never run"
        try:
            return "changed" if stage.status() else "cached"
        except LockError:
            return "busy"

    def _stage(self, name: str) -> Any:  # noqa: ANN401 - DVC's
        return next(stage for stage in self._repo.index.stages if stage.name == name)

    def _locked(self, stage: Any) -> bool:  # noqa: ANN401 - DVC's
        return all(out.hash_info for out in stage.outs)

    def run(self, name: str, *, force: bool = False, told: Mapping[str, str] | None = None) -> StageRun:
        """Run one stage if anything that it depends on changed; `told` is more environment for its process.

        Raises:
            StageError: it failed, and what it said stands on stderr; or DVC could not run it.

        """
        from dvc.exceptions import DvcException  # noqa: PLC0415

        # Debian has no `python`, and DVC looks along PATH: let the stages' `python` be this one
        own = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        start = time.perf_counter()
        try:
            ran = self._repo.reproduce(name, single_item=True, force=force, run_env=own | dict(told or {}))
        except DvcException as exc:
            causes = list(_causes(exc))
            ended = next(filter(None, (EXIT.search(str(cause)) for cause in causes)), None)
            if ended is None:
                raise StageError(name, 1, _reason(causes[-1])) from exc
            self._restore(name)
            code = int(ended.group(1))
            raise StageError(name, code if code > 0 else 128 - code) from exc  # a signal's number, as shells tell it
        return StageRun(name, bool(ran), time.perf_counter() - start)

    def _restore(self, name: str) -> None:
        """Put back what DVC deleted before a stage that failed, as dvc.lock pins it: what was there stays."""
        if self._locked(self._stage(name)):
            self._repo.checkout(name, force=True, allow_missing=True)


def _holders(path: Path) -> set[int]:
    """Name the processes that hold what is written and read, as DVC keeps them; a file that was cut names none."""
    try:
        said = json.loads(path.read_text())
        read = [each for holders in said.get("read", {}).values() for each in holders]
        return {int(each["pid"]) for each in (*said.get("write", {}).values(), *read)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def _was_there(moment: float) -> Callable[[int], bool]:
    """Tell of a process whether it is the one of that moment; a later one may have got its number."""

    def told(pid: int) -> bool:
        try:
            return pid != os.getpid() and psutil.Process(pid).create_time() <= moment
        except psutil.Error:
            return False

    return told


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Go down to the first cause; DVC tells the exit code of a stage's command in words only, somewhere on the way."""
    cause: BaseException | None = exc
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _reason(cause: BaseException) -> str:
    """Say why a stage could not begin; what it needs and is not there is told with the way to get it back."""
    if isinstance(cause, FileNotFoundError) and cause.filename:
        name = os.path.relpath(cause.filename)
        return f"there is no {name}, which it depends on: `git checkout {name}` brings it back"
    return str(cause) or repr(cause)


def _is_kept(out: Any) -> bool:  # noqa: ANN401 - DVC's
    """Say whether an output is here, or in the cache."""
    return out.exists or bool(out.use_cache and out.hash_info and not out.changed_cache())
