"""Raw files of the tests' own problem: a seed and a calendar, nothing else, so that they are the same every time.

What can be learned: each courier has good and bad days, which what he handed over in the last hours tells.
What is wrong, on purpose: rows that break a contract, parcels lost, events sent twice, an order for a depot without a
zone; and files that overlap. Berlin's clocks go forward on 31 March 2024, Lisbon's too.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

FIRST, LAST = datetime(2024, 2, 1), datetime(2024, 5, 1)  # noqa: DTZ001 - all instants are UTC
A_DAY = 42
TOWNS = {"B1": "Berlin", "H1": "Hamburg", "L1": "Lisbon"}
DEPOTS = """\
depot,town,zone
B1,Berlin,Europe/Berlin
H1,Hamburg,Europe/Berlin
L1,Lisbon,Europe/Lisbon
X9,"Nowhere, beyond",
"""
COURIERS = {"B1": ("c01", "c02", "c03"), "H1": ("c04", "c05"), "L1": ("c06", "c07", "c08")}
CUSTOMERS = tuple(
    f"{first}{last}@example.org" for first in ("ada", "bo", "cleo", "dan") for last in ("kim", "lo", "my")
)
NIGHT = datetime(2024, 3, 31, 2, 30)  # noqa: DTZ001 - on a wall clock in Berlin, where there was no such time


@dataclass(frozen=True)
class Order:
    """A row of the source `orders`."""

    parcel: str
    customer: str
    depot: str
    courier: str | None
    weight_g: int | None
    express: bool
    ordered_at: datetime
    promised_local: datetime


Event = Mapping[str, object]


def orders() -> list[Order]:
    """All parcels that can be delivered, by the time of their order."""
    draw = random.Random(2024)  # noqa: S311
    found: list[Order] = []
    for day in range((LAST - FIRST).days):
        for _ in range(A_DAY):
            depot = draw.choice(sorted(TOWNS))
            at = FIRST + timedelta(days=day, minutes=draw.randrange(1440))
            promised = at + timedelta(hours=draw.randrange(7, 48))
            found.append(
                Order(
                    parcel=f"P{len(found):06d}",
                    customer=draw.choice(CUSTOMERS),
                    depot=depot,
                    courier=None if draw.random() < 0.04 else draw.choice(COURIERS[depot]),
                    weight_g=None if draw.random() < 0.1 else draw.randrange(50, 20_000),
                    express=draw.random() < 0.3,
                    ordered_at=at,
                    promised_local=promised.replace(minute=draw.choice((0, 15, 30, 45)), second=0),
                )
            )
    found.sort(key=lambda order: (order.ordered_at, order.parcel))
    place = next(n for n, o in enumerate(found) if o.depot == "B1" and o.ordered_at > NIGHT - timedelta(hours=20))
    found[place] = replace(found[place], promised_local=NIGHT)
    return found


def events(of: list[Order]) -> list[Event]:
    """What happened to each parcel, by time, as a program of the couriers' would send it."""
    draw = random.Random(4202)  # noqa: S311
    slowness: dict[tuple[str | None, int], int] = {}
    found = [event for order in of for event in _events(order, slowness, draw)]
    found += [event for event in found if draw.random() < 0.01]  # sent twice
    return sorted(found, key=lambda event: (str(event["at"]), str(event["parcel"]), str(event["status"])))


def _events(order: Order, slowness: dict[tuple[str | None, int], int], draw: random.Random) -> Iterator[Event]:
    promised = order.promised_local - timedelta(hours=1)  # about: Berlin's winter; late is late
    mood = slowness.setdefault((order.courier, (promised - FIRST).days), draw.randrange(-50, 50))
    late = mood + draw.randrange(-25, 25) + (order.weight_g or 0) // 1000 - 12 * order.express
    if order.depot == "L1":
        late += 60  # its winter is an hour behind Berlin's
    if order.promised_local >= NIGHT:
        late -= 60  # clocks have been put forward
    base = {"parcel": order.parcel, "courier": order.courier}
    scanned = promised + timedelta(minutes=late - draw.randrange(60, 240))
    town = TOWNS[order.depot] if draw.random() < 0.8 else "elsewhere"
    yield base | {"status": "scan", "town": town, "at": _text(max(scanned, order.ordered_at), draw)}
    if draw.random() < 0.02:
        yield base | {"status": "lost", "at": _text(promised + timedelta(days=2), draw)}
        return
    at = max(promised + timedelta(minutes=late), order.ordered_at)
    yield base | {"status": "delivered", "signed": draw.random() < 0.7, "at": _text(at, draw)}


def _text(at: datetime, draw: random.Random) -> str:
    return f"{at + timedelta(seconds=draw.randrange(60)):%Y-%m-%dT%H:%M:%S}Z"


BROKEN_ORDERS = (
    {"parcel": "P900000", "weight_g": -5},
    {"parcel": "P900001", "customer": "nobody"},
    {"parcel": "nonsense"},
    {"parcel": "P900002", "depot": "X9"},  # has no zone: there is no telling when it was promised for
    {"parcel": "P900003", "promised_local": FIRST},  # into the past
    {"parcel": "P900004"},
    {"parcel": "P900004"},  # twice
)
BROKEN_EVENTS: tuple[Event, ...] = (
    {"parcel": "P000001", "status": "teleported", "at": "2024-02-10T00:00:00Z"},
    {"parcel": "P000001", "status": "scan", "at": "2024-02-10T00:00:00Z"},  # nowhere
    {"parcel": "P000001", "status": "scan", "town": "Berlin"},  # at no time
    {"parcel": "P000001", "status": "scan", "town": "Berlin", "at": "1024-02-10T00:00:00Z"},  # a clock gone wrong
)


def write_depots(path: Path) -> Path:
    """Write the CSV."""
    path.write_text(DEPOTS)
    return path


def write_orders(path: Path, rows: list[Order]) -> Path:
    """Write the Parquet."""
    types: dict[str, pl.DataType | type[pl.DataType] | None] = {
        "parcel": pl.String,
        "customer": pl.String,
        "depot": pl.String,
        "courier": pl.String,
        "weight_g": pl.Int64,
        "express": pl.Boolean,
        "ordered_at": pl.Datetime("us"),
        "promised_local": pl.Datetime("us"),
    }
    pl.DataFrame([vars(row) for row in rows], schema=types).write_parquet(path)
    return path


def write_events(path: Path, rows: list[Event]) -> Path:
    """Write the JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_all(folder: Path) -> list[tuple[str, Path]]:
    """Write each source's files, which overlap by some days; the lookup table comes first."""
    bought = orders()
    happened = events(bought)
    broken = [replace(bought[700], **change) for change in BROKEN_ORDERS]
    middle, again = datetime(2024, 3, 20), datetime(2024, 3, 17)  # noqa: DTZ001
    return [
        ("depots", write_depots(folder / "depots.csv")),
        ("orders", write_orders(folder / "winter.parquet", [o for o in bought if o.ordered_at < middle] + broken)),
        ("orders", write_orders(folder / "spring.parquet", [o for o in bought if o.ordered_at >= again])),
        ("events", write_events(folder / "winter.jsonl", [*(_until(happened, middle)), *BROKEN_EVENTS])),
        ("events", write_events(folder / "spring.jsonl", [e for e in happened if str(e["at"]) >= f"{again:%Y-%m-%d}"])),
    ]


def _until(rows: list[Event], moment: datetime) -> list[Event]:
    return [row for row in rows if str(row["at"]) < f"{moment:%Y-%m-%d}"]
