"""Replay an answer: from its record and its bundle the same score, to the bit."""

from collections.abc import Callable

from tandem.registry import Registry
from tandem.run import operation
from tandem.serving.variant import Variant
from tandem.settings import Settings
from tasks.replay import Replayed, bundle_of, make_again, recorded, score_again


@operation
def replay(name: str, settings: Settings, registry: Callable[[], Registry]) -> Replayed:
    """Score the recorded inputs again, and make them again where the snapshot is still there.

    Raises:
        DivergesError: something comes out another way.

    """
    record = recorded(settings.ledger, name)
    with bundle_of(record, settings, registry) as bundle:
        variant = Variant(bundle)
        score_again(record, variant)
        made, left_out = make_again(record, variant, settings.snapshots)
    return Replayed(name, record.score, record.bundle, made, left_out)
