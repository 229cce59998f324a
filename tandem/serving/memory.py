"""When an answer may be sent: once what it leaves behind is as safe as the setting says."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tandem.errors import LedgerError
from tandem.serving.records import Records

Durability = Literal["process", "power", "off"]
Deliver = Callable[[LedgerError | None], None]


class Memory:
    """Records of a worker, by one of three promises.

    `process`: what was answered is there though the process is killed. `power`: though the machine loses its power;
    all that waits is made safe by one call, while the next ones gather. `off`: nothing is remembered.
    """

    def __init__(self, records: Records, durability: Durability) -> None:
        """Remember nothing yet."""
        self.records, self.durability = records, durability
        self._waiting: list[Deliver] = []
        self._syncing = False

    @property
    def waiting(self) -> int:
        """How many answers wait."""
        return len(self._waiting)

    def append(self, rows: Sequence[Any]) -> list[str]:
        """Write rows, and give their ids.

        Raises:
            LedgerError: they cannot be written.

        """
        if self.durability == "off":
            return [secrets.token_hex(16) for _ in rows]
        return self.records.append(rows)

    def when_safe(self, deliver: Deliver) -> None:
        """Deliver what was appended last, as soon as it is safe."""
        if self.durability != "power":
            deliver(None)
            return
        self._waiting.append(deliver)
        if not self._syncing:
            self._sync()

    def _sync(self) -> None:
        covered, self._waiting, self._syncing = self._waiting, [], True
        done = asyncio.get_running_loop().run_in_executor(None, self.records.sync)
        done.add_done_callback(lambda future: self._synced(covered, future.exception()))

    def _synced(self, covered: list[Deliver], failed: BaseException | None) -> None:
        self._syncing = False
        error = LedgerError(f"the disk did not take it: {failed}") if failed else None
        if error:
            self.records.abandon()  # what the kernel had is gone, and the next sync would not say so again
        for deliver in covered:
            deliver(error)
        if self._waiting:
            self._sync()
