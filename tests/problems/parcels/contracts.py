"""What each source, kind of fact and request promises."""

import dataframely as dy
import polars as pl

from tandem.contracts import KEY, PERSONAL, Fact, Row

PARCEL = r"^P[0-9]{6}$"
CUSTOMER = r"^[a-z]{3,12}@example\.org$"
DEPOT = r"^[A-Z][0-9]$"
COURIER = r"^c[0-9]{2}$"


class Depots(Row):
    """Where parcels leave from, and the zone of its wall clock."""

    depot = dy.String(primary_key=True, regex=DEPOT, metadata=KEY)
    town = dy.String(nullable=False)
    zone = dy.String(nullable=True)


class Orders(Row):
    """One parcel: ordered at an instant, promised for a time on the depot's wall clock."""

    parcel = dy.String(primary_key=True, regex=PARCEL, metadata=KEY)
    customer = dy.String(nullable=False, regex=CUSTOMER, metadata=KEY | PERSONAL)
    depot = dy.String(nullable=False, regex=DEPOT, metadata=KEY)
    courier = dy.String(nullable=True, regex=COURIER, metadata=KEY)
    weight_g = dy.Int64(nullable=True, min=1, max=50_000)
    express = dy.Bool(nullable=False)
    ordered_at = dy.Datetime(nullable=False)
    promised_local = dy.Datetime(nullable=False)


class Events(Row):
    """What happened to a parcel; a sender that is not sure sends it again."""

    parcel = dy.String(nullable=False, regex=PARCEL, metadata=KEY)
    courier = dy.String(nullable=True, regex=COURIER, metadata=KEY)
    status = dy.String(nullable=False, regex="^(scan|delivered|lost)$")
    town = dy.String(nullable=True)
    signed = dy.Bool(nullable=True)
    at = dy.Datetime(nullable=False)

    @dy.rule()
    def a_scan_is_somewhere(cls) -> pl.Expr:  # noqa: N805
        """A scanner knows its town."""
        return (pl.col("status") != "scan") | pl.col("town").is_not_null()


class Ordered(Fact):
    """A parcel was ordered."""

    parcel = dy.String(nullable=False, metadata=KEY)
    customer = dy.String(nullable=False, metadata=KEY | PERSONAL)
    depot = dy.String(nullable=False, metadata=KEY)
    courier = dy.String(nullable=True, metadata=KEY)
    town = dy.String(nullable=False)
    weight_g = dy.Int64(nullable=True, description="grams")
    express = dy.Bool(nullable=False)
    promised_at = dy.Datetime(nullable=False)

    @dy.rule()
    def promised_after_ordered(cls) -> pl.Expr:  # noqa: N805
        """Nobody delivers into the past."""
        return pl.col("promised_at") > pl.col("event_at")


class Handled(Fact):
    """What all events say."""

    parcel = dy.String(nullable=False, metadata=KEY)
    courier = dy.String(nullable=True, metadata=KEY)


class Scanned(Handled):
    """A courier scanned a parcel."""

    town = dy.String(nullable=False)


class Delivered(Handled):
    """A parcel was handed over."""

    signed = dy.Bool(nullable=True)


class Lost(Handled):
    """A parcel was given up."""


class Request(dy.Schema):
    """A parcel under way, as a client asks about it."""

    parcel = dy.String(nullable=False, regex=PARCEL, metadata=KEY, description="its number")
    customer = dy.String(nullable=False, regex=CUSTOMER, metadata=KEY | PERSONAL, description="who waits for it")
    depot = dy.String(nullable=False, regex=DEPOT, metadata=KEY, description="where it leaves from")
    town = dy.String(nullable=False, max_length=20, description="the depot's town")
    courier = dy.String(nullable=True, regex=COURIER, metadata=KEY, description="who brings it, where that is settled")
    weight_g = dy.Int64(nullable=True, min=1, max=50_000, description="grams")
    express = dy.Bool(nullable=False, description="whether more was paid")
    ordered_at = dy.Datetime(nullable=False, description="UTC")
    promised_at = dy.Datetime(nullable=False, description="UTC")


SOURCES = {"depots": Depots, "orders": Orders, "events": Events}
FACTS = {"ordered": Ordered, "scanned": Scanned, "delivered": Delivered, "lost": Lost}
