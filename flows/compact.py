"""Compact the ledger: closed segments to Parquet by day, which the ledger is asked from faster and kept in for good."""

from datetime import timedelta

from tandem.clock import wall_now
from tandem.run import operation
from tandem.schedule import COMPACT, alone
from tandem.settings import Settings
from tasks.compact import Compacted, compact_closed, drop_compacted


@operation
def compact(settings: Settings) -> Compacted:
    """Make Parquet of all segments that are closed, and delete those that have been it for long enough.

    Raises:
        BusyError: another one is at it.
        LedgerError: a segment or a file is not what was written; all others were done.

    """
    report, kept = Compacted(), timedelta(days=settings.ledger_kept)
    with alone(settings.schedule, COMPACT):
        compact_closed(settings.ledger, report)
        drop_compacted(settings.ledger, wall_now() - kept, report)
    return report.check()
