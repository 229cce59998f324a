"""A worker's core without HTTP, and a server as a process: what tests ask."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from commands import environment

from tandem.serving.core import Answer, Core, Row
from tandem.serving.counts import Counts
from tandem.serving.memory import Memory
from tandem.serving.records import Records
from tandem.serving.served import Source, Watched

NOTHING: Mapping[str, str] = {}


class Answering:
    """Answers as of one moment, from a bundle's folder and a folder of snapshots."""

    def __init__(self, bundle: Path, snapshots: Path, moment: datetime) -> None:
        self.moment, self.counts = moment, Counts()
        self.watched = Watched(Source(bundle.parent, bundle), snapshots, self.counts)
        self.watched.look(moment)

    @property
    def contract(self) -> Any:  # noqa: ANN401
        return self.watched.now.champion.contract

    def ask(self, instances: Sequence[Mapping[str, Any]], at: datetime | None = None) -> list[Answer]:
        """Answer rows as one request."""

        async def answer() -> list[Answer]:
            return await self._core().answer(self.contract.read([dict(row) for row in instances]), at)

        return asyncio.run(answer())

    def explained(self, instances: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Score rows that are not answered."""

        async def score() -> list[Row]:
            return self._core().scored(self.contract.read([dict(row) for row in instances]))

        return asyncio.run(score())

    def _core(self) -> Core:
        memory = Memory(Records(self.watched.ticks.folder / "ledger"), "off")
        return Core(self.watched, lambda: self.moment, memory, self.counts)

    def score(self, instance: Mapping[str, Any]) -> float:
        """Score one row."""
        return self.ask([instance])[0].score


@contextmanager
def served(
    root: Path, *words: str, beside: Mapping[str, str] = NOTHING
) -> Iterator[tuple[str, "subprocess.Popen[str]", str]]:
    """Run `tandem serve` until the test is over: the address, the process and what it said."""
    command = [sys.executable, "-m", "flows.cli", "serve", "--port", "0", *words]
    with subprocess.Popen(
        command, cwd=root, env=environment(root, beside), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith("serving on"):
                break
        else:
            raise AssertionError(said)
        try:
            yield said.split()[-1], process, said
        finally:
            process.terminate()
            process.wait()
