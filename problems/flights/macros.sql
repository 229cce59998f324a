-- What several views share: facts in the shape they want, read once, and windows over them.

-- Minutes and how many they are of, up to 2^20, in one double: running sums take most of a view's time, and one adds up
-- both. Whole numbers in doubles are exact in any order, and four times as fast as integers.
create macro packed(minutes) as minutes * 2 ** 20 + 1;
create macro count_of(sum) as sum - floor(sum / 2 ** 20) * 2 ** 20;
create macro mean_of(sum) as floor(sum / 2 ** 20) / nullif(count_of(sum), 0);

-- grain: one row per departure and per arrival. A delay counts 4 hours at most, lest one flight rule a mean.
create table delays as
select
    carrier, origin, dest, published(known_at) as tick,
    packed(least(dep_delay, 240)) as dep, 0::double as arr, (dep_delay >= 15)::double as late
from departed
union all
select carrier, origin, dest, published(known_at), 0, packed(least(arr_delay, 240)), 0
from arrived;

-- grain: one row per scheduled flight, and what is known of its departure
create table legs as
select carrier, origin, dest, tailnum, scheduled_at, arrives_at, departed_at, dep_delay
from scheduled
left join (select carrier, flight, origin, scheduled_at, known_at as departed_at, dep_delay from departed)
    using (carrier, flight, origin, scheduled_at);

-- grain: two rows per flight that is 15 minutes overdue, and two if an hour: when it becomes so and when it no longer is.
-- It is waited for until it leaves, 4 hours after its time at most: a cancelled one is not told from a late one.
create table waits as
with
flights as (
    select
        carrier, origin, dest, scheduled_at,
        least(published(departed_at), published(scheduled_at) + interval 4 hour) as gone
    from legs
),
awaited as (
    select *, published(scheduled_at + interval 15 minute) as tick, 1::double as late, 0::double as very_late
    from flights
    union all select *, published(scheduled_at + interval 60 minute), 0, 1 from flights
)
select carrier, origin, dest, tick, late, very_late from awaited where tick < gone
union all select carrier, origin, dest, gone, -late, -very_late from awaited where tick < gone;

-- The sums run over the rows of all keys, sorted by key and then by tick, and need no partition: what enters a key's
-- windows leaves them too, so that each key begins at 0.

-- grain: one row per key and tick at which a sum of the last 1, 3 or 24 hours changes: a fact enters each window at the
-- tick that publishes it, and leaves it as many hours later. Of the rows of one tick the last has the sums.
create macro delays_by(key_a, key_b) as table
with
entered as (
    select key_a as a, key_b as b, tick, sum(dep) as dep, sum(arr) as arr, sum(late) as late
    from delays group by all
),
changes as (
    select *, 0::tinyint as hours from entered
    union all select a, b, tick + interval 1 hour, -dep, -arr, 0, 1 from entered
    union all select a, b, tick + interval 3 hour, -dep, -arr, -late, 3 from entered
    union all select a, b, tick + interval 24 hour, -dep, -arr, 0, 24 from entered
    order by a, b, tick
),
sums as (
    select
        a, b, tick, lead(a) over () as next_a, lead(b) over () as next_b, lead(tick) over () as next_tick,
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
where next_tick is distinct from tick or next_a is distinct from a or next_b is distinct from b;

-- grain: one row per key and tick at which the number of departures that are overdue changes
create macro overdue_by(key_a, key_b) as table
with
changes as (
    select key_a as a, key_b as b, tick, sum(late) as late, sum(very_late) as very_late
    from waits group by all order by a, b, tick
)
select a, b, tick as valid_from, sum(late) over w as late, sum(very_late) over w as very_late
from changes
window w as (rows unbounded preceding);

-- grain: one row per key and day on which what is known of the last 28 days of arrivals changes, published at midnight
create macro history_by(key_a, key_b, key_c) as table
with
entered as (
    select
        key_a as a, key_b as b, key_c as c, date_trunc('day', known_at) + interval 1 day as day,
        sum((arr_delay >= 15)::double) as late, sum(packed(least(arr_delay, 240))) as arr
    from arrived group by all
),
changes as (
    select a, b, c, day, sum(late) as late, sum(arr) as arr
    from (from entered union all select a, b, c, day + interval 28 day, -late, -arr from entered)
    group by all order by a, b, c, day
),
sums as (
    select a, b, c, day, sum(late) over w as late, sum(arr) over w as arr
    from changes
    window w as (rows unbounded preceding)
)
select
    a, b, c, day::timestamp as valid_from,
    count_of(arr) as flights,
    late / nullif(count_of(arr), 0) as late_share,
    mean_of(arr) as delay
from sums;
