-- grain: one row per aircraft and tick at which its last known leg from New York is due, leaves or lands
with
legs as (
    select
        scheduled.*, departed.known_at as departed_at, departed.dep_delay
    from scheduled
    left join (select carrier, flight, origin, scheduled_at, known_at, dep_delay from departed) as departed
        using (carrier, flight, origin, scheduled_at)
    where tailnum is not null
),
events as (
    select
        tailnum, scheduled_at as known_at, 0 as stage, scheduled_at, arrives_at as due_at, null as delay,
        date_diff('minute', scheduled_at, arrives_at) as block, dest
    from legs
    where departed_at is null or published(departed_at) > published(scheduled_at)
    union all
    select
        tailnum, departed_at, 1, scheduled_at, arrives_at + to_minutes(dep_delay), dep_delay,
        date_diff('minute', scheduled_at, arrives_at), dest
    from legs
    where departed_at is not null
    union all
    select
        tailnum, known_at, 2, scheduled_at, known_at, arr_delay,
        date_diff('minute', scheduled_at, arrives_at), dest
    from arrived
    where tailnum is not null
)
select
    tailnum,
    published(known_at) as valid_from,
    stage as leg_stage,  -- 0: it is due and has not left, 1: it has left, 2: it has landed
    delay::bigint as leg_delay,  -- its departure delay, or its arrival delay once it has landed, minutes
    block as leg_block,  -- its scheduled length, minutes; the way back takes about as long
    scheduled_at as leg_scheduled_at,  -- its scheduled departure
    due_at as leg_due_at,  -- its arrival, known or expected
    dest as leg_dest  -- where it goes
from events
qualify row_number() over (
    partition by tailnum, valid_from order by known_at desc, stage desc, scheduled_at desc, dest, due_at desc, delay, block
) = 1
