-- grain: one row per scan, known at once
select parcel, courier, town, "at" as event_at, "at" as known_at, row
from events
where status = 'scan'
