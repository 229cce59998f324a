"""How models age: what a study of it comes to."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Aged:
    """How good models of one age are, and how good the newest of each day would have been on the same rows."""

    weeks: int
    models: int
    rows: int
    auc: float | None
    log_loss: float | None
    ece: float | None
    newest_auc: float | None
    newest_log_loss: float | None

    @property
    def lost(self) -> float | None:
        """By how much its age makes the log loss worse."""
        if self.log_loss is None or self.newest_log_loss is None:
            return None
        return round(self.log_loss - self.newest_log_loss, 6) + 0.0


@dataclass(frozen=True)
class Study:
    """What each model was when it was new, and how good models of each age are."""

    models: tuple[dict[str, Any], ...]
    ages: tuple[Aged, ...]

    def facts(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"models": self.models, "ages": [asdict(each) | {"lost": each.lost} for each in self.ages]}
