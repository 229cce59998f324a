"""Hold recorded traffic against offline code: the same features to the bit, and the same scores."""

from tandem.clock import Clock
from tandem.files import secret_of
from tandem.params import Params
from tandem.problem import load_problem
from tandem.run import operation
from tandem.settings import Settings
from tandem.warehouse import Desk
from tasks.known import Known, Place, known_until
from tasks.skew import Judge, Skew, bundles_of, hold, parted, recorded


@operation
def skew(params: Params, settings: Settings) -> Skew:
    """Compute each recorded prediction anew from the facts as of its tick, and count what differs."""
    place, found = Place(load_problem(params.problem), params, settings), Skew()
    now = Clock.of(*place).now()
    bundles = bundles_of(settings, params.problem)
    judges: dict[str, tuple[Judge, Known]] = {}
    with Desk.at() as desk:
        for segment in recorded(settings.ledger, params.problem):
            for digest, rows in parted(segment, bundles, found).items():
                if digest not in judges:
                    judge = Judge(bundles[digest], secret_of(settings.pseudonyms))
                    judges[digest] = judge, known_until(now, judge.spec, place, judge.renamed)
                hold(rows, *judges[digest], desk, found)
    found.hidden = tuple(sorted({name for judge, _ in judges.values() for name in judge.hidden}))
    return found
