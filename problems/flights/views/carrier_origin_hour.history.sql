-- grain: one row per carrier, origin and local hour of departure, and day on which its history changes
select
    a as carrier,
    b as origin,
    c as local_hour,
    valid_from,
    flights as hour_flights_28d,  -- arrivals of the carrier's flights from the origin in this hour, last 28 days
    late_share as hour_late_28d,  -- share of them that was 15 minutes late or more
    delay as hour_delay_28d  -- their mean arrival delay, minutes
from history_by(carrier, origin, hour(scheduled_at at time zone 'UTC' at time zone 'America/New_York'))
