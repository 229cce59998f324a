-- grain: one row per flight number and tick at which an arrival of it is published
select
    carrier,
    flight,
    published(known_at) as valid_from,
    dep_delay as last_dep_delay,  -- departure delay of the last flight of this number that landed, minutes
    arr_delay as last_arr_delay  -- its arrival delay, minutes
from arrived
qualify row_number() over (partition by carrier, flight, valid_from order by known_at desc, scheduled_at desc, origin) = 1
