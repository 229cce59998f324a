-- grain: one row per flight that landed where it was bound for, known when it does (not cancelled, not diverted)
select
    carrier, flight, origin, scheduled_at, arrives_at, dest, tailnum, distance, dep_delay, arr_delay,
    arrived_at as event_at, arrived_at as known_at,
    row
from flights
where arr_delay is not null
