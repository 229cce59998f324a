-- grain: one row per flight number and tick at which an arrival of it is published
with
landed as (
    select *, published(known_at) as valid_from
    from arrived
    order by carrier, flight, known_at, scheduled_at, origin desc
)
select
    carrier,
    flight,
    valid_from,
    dep_delay as last_dep_delay,  -- departure delay of the last flight of this number that landed, minutes
    arr_delay as last_arr_delay  -- its arrival delay, minutes
from landed
qualify lead((carrier, flight, valid_from)) over () is distinct from (carrier, flight, valid_from)
