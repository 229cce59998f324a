-- grain: one row per airport and hour, known when the hour is over
select
    origin, temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib,
    time_hour as event_at,
    time_hour + interval 1 hour as known_at,
    row
from weather
