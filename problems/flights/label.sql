-- grain: one row per flight whose outcome is known; null for those that have none
select carrier, flight, origin, scheduled_at, arr_delay >= 15 as label, 'arrived' as outcome, known_at
from arrived
union all
select carrier, flight, origin, scheduled_at, null, 'cancelled', known_at
from cancelled
union all
select carrier, flight, origin, scheduled_at, null, 'diverted', known_at + interval 24 hour as known_at
from departed anti join arrived using (carrier, flight, origin, scheduled_at)
