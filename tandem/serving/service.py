"""What the faces share: who answers, from what state, and within which limits."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tandem.clock import naive
from tandem.serving.admission import Admission
from tandem.serving.contract import Contract, Limits
from tandem.serving.core import Core
from tandem.serving.counts import Counts
from tandem.serving.http import Call, Patience
from tandem.serving.refused import RETRY, Fault, Refused
from tandem.serving.served import Ground, Watched
from tandem.serving.variant import Variant


@dataclass
class Service:
    """One worker's."""

    watched: Watched
    core: Core
    counts: Counts
    limits: Limits
    admission: Admission
    any_moment: bool
    """Whether a request may name its moment."""
    log_all: bool = False
    """Whether each answer is logged, and not only those that failed."""
    leaving: bool = False
    """Answers go on, but nobody new should come."""

    def __post_init__(self) -> None:
        """Wait for bodies as long as the limits say."""
        self.patience = Patience(self.limits.seconds)

    @property
    def champion(self) -> Variant:
        """Who answers, unless traffic is shared."""
        return self.watched.now.champion

    @property
    def contract(self) -> Contract:
        """What a request must be."""
        return self.champion.contract

    def ready(self) -> Ground:
        """Give what an answer would come from now.

        Raises:
            Refused: it would come from nowhere, or nobody new should come.

        """
        if self.leaving:
            raise Refused(503, "leaving: answers go on, but send nobody new", RETRY)
        return self.watched.ground(self.core.now())

    async def body(self, call: Call) -> bytes:
        """Read a body within the limits."""
        return await call.body(self.limits.body, self.patience, self.admission.came)

    def moment(self, at: datetime | None) -> datetime | None:
        """Read the moment that a request names, if it may.

        Raises:
            Refused: it may not, or it is none that could be answered.

        """
        if at is None:
            return None
        if not self.any_moment:
            raise Refused.of(
                Fault("$.at", "nothing: this server answers as of now (setting any_moment)", at.isoformat())
            )
        try:
            moment = naive(at)
            _ = moment - timedelta(days=366)  # ticks and lags are less
        except OverflowError as exc:
            raise Refused.of(Fault("$.at", "a moment after the year 1", at.isoformat())) from exc
        return moment
