-- grain: one row per aircraft and tick at which its last known leg from New York is due, leaves or lands
with
events as (
    select
        tailnum, scheduled_at as known_at, 0 as stage, scheduled_at, arrives_at,
        arrives_at as due_at, null as delay, dest
    from legs
    where departed_at is null or published(departed_at) > published(scheduled_at)
    union all
    select tailnum, departed_at, 1, scheduled_at, arrives_at, arrives_at + to_minutes(dep_delay), dep_delay, dest
    from legs
    where departed_at is not null
    union all
    select tailnum, known_at, 2, scheduled_at, arrives_at, known_at, arr_delay, dest
    from arrived
),
sorted as (
    select *, published(known_at) as valid_from
    from events
    where tailnum is not null
    order by tailnum, known_at, stage, scheduled_at, dest desc, due_at, delay desc, arrives_at desc
)
select
    tailnum,
    valid_from,
    stage as leg_stage,  -- 0: it is due and has not left, 1: it has left, 2: it has landed
    delay::bigint as leg_delay,  -- its departure delay, or its arrival delay once it has landed, minutes
    date_diff('minute', scheduled_at, arrives_at) as leg_block,  -- its scheduled length, minutes; the way back takes about as long
    scheduled_at as leg_scheduled_at,  -- its scheduled departure
    due_at as leg_due_at,  -- its arrival, known or expected
    dest as leg_dest  -- where it goes
from sorted
qualify lead((tailnum, valid_from)) over () is distinct from (tailnum, valid_from)
