-- grain: one row per flight that never left. The data does not say when that became known; a day after its time it is
-- certain, for no flight in it left later than that. Sooner would call a late flight cancelled.
select
    carrier, flight, origin, scheduled_at, arrives_at, dest, tailnum, distance,
    scheduled_at as event_at,
    scheduled_at + interval 24 hour as known_at,
    row
from flights
where dep_delay is null
