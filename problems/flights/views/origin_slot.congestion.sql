-- grain: one row per origin and hour of the schedule, and tick at which what is scheduled for it changes
with
entered as (
    select origin, date_trunc('hour', scheduled_at) as slot, published(known_at) as valid_from, count(*) as n
    from scheduled group by all
),
slots as (
    select
        origin, slot, valid_from,
        sum(n) over (partition by origin, slot order by valid_from rows unbounded preceding)::double as departures
    from entered
    union all
    select distinct origin, slot, published(slot + interval 1 day), null::double from entered  -- an hour long gone
)
select
    origin,
    slot,
    valid_from,
    departures as slot_departures  -- departures scheduled from the origin in the same hour
from slots
