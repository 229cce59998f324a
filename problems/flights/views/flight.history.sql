-- grain: one row per flight number, and day on which its history changes
select
    a as carrier,
    b as flight,
    valid_from,
    flights as flight_flights_28d,  -- arrivals under this flight number, last 28 days
    late_share as flight_late_28d,  -- share of them that was 15 minutes late or more
    delay as flight_delay_28d  -- their mean arrival delay, minutes
from history_by(carrier, flight, '')
