-- grain: one row per row of the source: a scheduled flight, its clocks turned into UTC
with
placed as (
    select
        raw.*,
        time_hour + to_minutes(minute) as scheduled_at,
        coalesce(
            airports.tzone,
            case when dest in ('BQN', 'PSE', 'SJU', 'STT') then 'America/Puerto_Rico' end  -- not in airports.csv
        ) as zone
    from raw left join airports on airports.faa = raw.dest
),
local as (
    select
        *,
        timezone(zone, timezone('UTC', scheduled_at)) as there,  -- the destination's clock at the scheduled departure
        to_minutes(sched_arr_time // 100 * 60 + sched_arr_time % 100) as clock
    from placed
),
scheduled as (
    select
        *,
        date_trunc('day', there) + clock as same_day,
        timezone('UTC', timezone(zone, if(same_day > there, same_day, same_day + interval 1 day))) as arrives_at,
        scheduled_at + to_minutes(dep_delay) as departed_at
    from local
)
select
    carrier, flight, origin, scheduled_at, arrives_at, dest, tailnum, distance, dep_delay, arr_delay, departed_at,
    -- where the clock is put back, a local time comes twice: no flight lands before it can
    greatest(arrives_at + to_minutes(arr_delay), departed_at + to_minutes(air_time)) as arrived_at,
    row
from scheduled
