-- What several views share. Sums are of whole minutes in doubles: exact in any order, and four times as fast as integers.
-- They run over the rows of all keys, sorted by key and then by tick, and need no partition: what enters a key's windows
-- leaves them too, so that each key begins at 0. Of the rows of one tick the last has the sums.

-- Minutes and how many they are of, in one double: one running sum adds up both. There is room for 2^20 of them.
create macro packed(minutes) as minutes * 2 ** 20 + 1;
create macro count_of(sum) as sum - floor(sum / 2 ** 20) * 2 ** 20;
create macro mean_of(sum) as floor(sum / 2 ** 20) / nullif(count_of(sum), 0);

-- grain: one row per departure and per arrival. A delay counts 4 hours at most, lest one flight rule a mean.
create table delays as
select
    carrier, origin, dest, published(known_at) as tick, packed(least(dep_delay, 240)) as dep, 0::double as arr,
    (dep_delay >= 15)::double as late
from departed
union all
select carrier, origin, dest, published(known_at), 0, packed(least(arr_delay, 240)), 0
from arrived;

-- grain: one row per key and tick at which a sum of the last 1, 3 or 24 hours changes: a fact enters each window at the
-- tick that publishes it, and leaves it as many hours later
create macro delays_by(key_a, key_b) as table
with
entered as (
    select key_a as a, key_b as b, tick, sum(dep) as dep, sum(arr) as arr, sum(late) as late
    from delays group by all
),
changes as (
    select *, 0 as hours from entered
    union all select a, b, tick + interval 1 hour, -dep, -arr, 0, 1 from entered
    union all select a, b, tick + interval 3 hour, -dep, -arr, -late, 3 from entered
    union all select a, b, tick + interval 24 hour, -dep, -arr, 0, 24 from entered
    order by a, b, tick
),
sums as (
    select
        a, b, tick, lead((a, b, tick)) over () as next,
        sum(if(hours in (0, 1), dep, 0)) over w as dep1,
        sum(if(hours in (0, 1), arr, 0)) over w as arr1,
        sum(if(hours in (0, 3), dep, 0)) over w as dep3,
        sum(if(hours in (0, 3), arr, 0)) over w as arr3,
        sum(if(hours in (0, 24), dep, 0)) over w as dep24,
        sum(if(hours in (0, 24), arr, 0)) over w as arr24,
        sum(late) over w as late3
    from changes
    window w as (rows unbounded preceding)
)
select
    a, b, tick as valid_from,
    count_of(dep1) as departures_1h,
    mean_of(dep1) as dep_1h,
    mean_of(arr1) as arr_1h,
    mean_of(dep3) as dep_3h,
    late3 / nullif(count_of(dep3), 0) as late_3h,
    mean_of(arr3) as arr_3h,
    mean_of(dep24) as dep_24h,
    mean_of(arr24) as arr_24h
from sums
where next is distinct from (a, b, tick);

-- grain: one row per key and tick at which the number of departures that are overdue changes. A flight is waited for from
-- a quarter of an hour after its time until it leaves, 4 hours at most: a cancelled one is not told from a late one.
create macro overdue_by(key_a, key_b) as table
with
flights as (
    select
        key_a as a, key_b as b, scheduled_at,
        least(published(departed.known_at), published(scheduled_at) + interval 4 hour) as gone
    from scheduled left join (select carrier, flight, origin, scheduled_at, known_at from departed) as departed
        using (carrier, flight, origin, scheduled_at)
),
awaited as (
    select a, b, published(scheduled_at + interval 15 minute) as tick, gone, 1.0 as late, 0.0 as very_late from flights
    union all select a, b, published(scheduled_at + interval 60 minute), gone, 0.0, 1.0 from flights
),
changes as (
    select a, b, tick, late::double as late, very_late::double as very_late
    from (
        select a, b, tick, late, very_late from awaited where tick < gone
        union all select a, b, gone, -late, -very_late from awaited where tick < gone
    )
    order by a, b, tick
),
sums as (
    select
        a, b, tick, lead((a, b, tick)) over () as next,
        sum(late) over w as late, sum(very_late) over w as very_late
    from changes
    window w as (rows unbounded preceding)
)
select a, b, tick as valid_from, late, very_late
from sums
where next is distinct from (a, b, tick);

-- grain: one row per key and day on which what is known of the last 28 days of arrivals changes, published at midnight
create macro history_by(key_a, key_b, key_c) as table
with
entered as (
    select
        key_a as a, key_b as b, key_c as c, date_trunc('day', known_at) + interval 1 day as day,
        count(*)::double as n, sum((arr_delay >= 15)::integer)::double as late, sum(least(arr_delay, 240))::double as arr
    from arrived group by all
),
changes as (
    select a, b, c, day, n, late, arr from entered
    union all select a, b, c, day + interval 28 day, -n, -late, -arr from entered
    order by a, b, c, day
),
sums as (
    select
        a, b, c, day, lead((a, b, c, day)) over () as next,
        sum(n) over w as n, sum(late) over w as late, sum(arr) over w as arr
    from changes
    window w as (rows unbounded preceding)
)
select
    a, b, c, day::timestamp as valid_from,
    n as flights,
    late / nullif(n, 0) as late_share,
    arr / nullif(n, 0) as delay
from sums
where next is distinct from (a, b, c, day);
