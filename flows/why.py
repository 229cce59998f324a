"""Why an answer was given: from its id down to the raw lines, each link by its digest."""

from collections.abc import Callable
from typing import Any

from tandem.history import History
from tandem.problem import load_problem
from tandem.registry import Registry
from tandem.run import operation
from tandem.serving.variant import Variant
from tandem.settings import Settings
from tasks.replay import bundle_of, recorded, snapshot_of
from tasks.why import about_bundle, about_traffic, answer_of, facts_behind, facts_of, labels_of, used_rows


@operation
def why(name: str, settings: Settings, registry: Callable[[], Registry]) -> dict[str, Any]:
    """Follow an answer to its snapshot, facts and raw lines, and to its bundle, figures and what was said of it."""
    record, versions = recorded(settings.ledger, name), registry()
    with bundle_of(record, settings, registry) as bundle, History.open(settings.ledger) as history:
        variant, problem = Variant(bundle), load_problem(record.problem)
        snapshot, facts = snapshot_of(record, settings.snapshots), facts_of(settings, problem)
        views = used_rows(record, variant, snapshot)
        if facts:
            facts_behind(views, problem, facts, record.tick, variant.grid)
        return {
            "id": name,
            **answer_of(record),
            "threshold": variant.threshold,
            "labels": labels_of(history, name),
            "traffic": about_traffic(record, versions),
            "snapshot": {"digest": record.snapshot, "tick": record.tick.isoformat(), "kept": snapshot is not None},
            "facts": str(facts) if facts else None,
            "views": views,
            "bundle": about_bundle(bundle, versions),
        }
