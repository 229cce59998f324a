-- grain: one row per flight on the schedule, known 28 days ahead (the data does not say; airlines publish far earlier)
select
    carrier, flight, origin, scheduled_at, arrives_at, dest, tailnum, distance,
    scheduled_at as event_at,
    date_trunc('day', scheduled_at) - interval 28 day as known_at,
    row
from flights
