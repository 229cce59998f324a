-- grain: one row per flight that left, known when it does
select
    carrier, flight, origin, scheduled_at, arrives_at, dest, tailnum, distance, dep_delay,
    departed_at as event_at, departed_at as known_at,
    row
from flights
where dep_delay is not null
