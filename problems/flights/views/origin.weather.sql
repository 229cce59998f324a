-- grain: one row per origin and tick at which an observation is published, or the last one is 6 hours old
with
published as (
    select *, published(known_at) as valid_from
    from observed
    qualify row_number() over (partition by origin, valid_from order by event_at desc, landing, row) = 1
),
followed as (select *, lead(valid_from) over (partition by origin order by valid_from) as next from published),
expiring as (
    select origin, valid_from, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib from followed
    union all
    select origin, valid_from + interval 6 hour, null, null, null, null, null, null, null, null, null
    from followed
    where next is null or next > valid_from + interval 6 hour
)
select
    origin,
    valid_from,
    temp as temp,  -- temperature at the origin, degrees Fahrenheit
    temp - dewp as dew_spread,  -- temperature above the dew point, degrees Fahrenheit; near 0 is fog
    humid as humid,  -- relative humidity, %
    wind_dir as wind_dir,  -- where the wind comes from, degrees
    wind_speed as wind_speed,  -- miles an hour
    wind_gust as wind_gust,  -- gusts, miles an hour
    precip as precip,  -- rain or melted snow in the hour, inches
    pressure as pressure,  -- at sea level, millibars
    visib as visib  -- visibility, miles
from expiring
