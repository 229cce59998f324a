-- grain: one row per parcel handed over, known at once
select parcel, courier, signed, "at" as event_at, "at" as known_at, row
from events
where status = 'delivered'
