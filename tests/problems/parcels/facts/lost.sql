-- grain: one row per parcel given up, known at once
select parcel, courier, "at" as event_at, "at" as known_at, row
from events
where status = 'lost'
