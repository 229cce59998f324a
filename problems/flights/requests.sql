-- grain: one row per scheduled flight: the request that would have been made, two hours before its departure
select
    scheduled_at - interval 2 hour as moment,
    carrier, flight, origin, dest, tailnum, scheduled_at, arrives_at, distance
from scheduled
