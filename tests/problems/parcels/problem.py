"""The tests' own problem: orders in Parquet, events in JSON lines, depots in CSV, all made up by tests/raw_parcels.py."""

from datetime import timedelta

from tandem.problem import Problem, Source

PROBLEM = Problem(
    name="parcels",
    question="Will a parcel be handed over 10 minutes late or more?",
    sources=(
        Source("depots", "csv"),
        Source("orders", "parquet", kinds=("ordered",), beside=("depots",)),
        Source("events", "jsonl", kinds=("scanned", "delivered", "lost")),
    ),
    keys=("parcel",),
    rates=("depot", "part"),
    baselines={"without_history": ("courier.last_seen",)},
    lookback=timedelta(days=33),
    replayed=True,
)
