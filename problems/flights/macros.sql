-- What several views share. Sums are of whole minutes in doubles: exact in any order, and four times as fast as integers.

-- grain: one row per key and tick at which a sum of the last 1, 3 or 24 hours changes: a fact enters each window at the
-- tick that publishes it, and leaves it as many hours later. A delay counts 4 hours at most, lest one flight rule a mean.
create macro delays_by(key_a, key_b) as table
with
facts as (
    select key_a as a, key_b as b, published(known_at) as tick, 1 as n, least(dep_delay, 240) as dep,
        (dep_delay >= 15)::integer as late, 0 as m, 0 as arr
    from departed
    union all
    select key_a, key_b, published(known_at), 0, 0, 0, 1, least(arr_delay, 240)
    from arrived
),
entered as (
    select
        a, b, tick,
        sum(n)::double as n, sum(dep)::double as dep, sum(late)::double as late, sum(m)::double as m, sum(arr)::double as arr
    from facts group by all
),
changes as (
    select
        a, b, tick,
        n as n1, dep as dep1, m as m1, arr as arr1,
        n as n3, dep as dep3, late as late3, m as m3, arr as arr3,
        n as n24, dep as dep24, m as m24, arr as arr24
    from entered
    union all select a, b, tick + interval 1 hour, -n, -dep, -m, -arr, 0, 0, 0, 0, 0, 0, 0, 0, 0 from entered
    union all select a, b, tick + interval 3 hour, 0, 0, 0, 0, -n, -dep, -late, -m, -arr, 0, 0, 0, 0 from entered
    union all select a, b, tick + interval 24 hour, 0, 0, 0, 0, 0, 0, 0, 0, 0, -n, -dep, -m, -arr from entered
),
net as (
    select
        a, b, tick,
        sum(n1) as n1, sum(dep1) as dep1, sum(m1) as m1, sum(arr1) as arr1,
        sum(n3) as n3, sum(dep3) as dep3, sum(late3) as late3, sum(m3) as m3, sum(arr3) as arr3,
        sum(n24) as n24, sum(dep24) as dep24, sum(m24) as m24, sum(arr24) as arr24
    from changes group by all
)
select
    a, b, tick as valid_from,
    sum(n1) over w as departures_1h,
    sum(dep1) over w / nullif(departures_1h, 0) as dep_1h,
    sum(arr1) over w / nullif(sum(m1) over w, 0) as arr_1h,
    sum(dep3) over w / nullif(sum(n3) over w, 0) as dep_3h,
    sum(late3) over w / nullif(sum(n3) over w, 0) as late_3h,
    sum(arr3) over w / nullif(sum(m3) over w, 0) as arr_3h,
    sum(dep24) over w / nullif(sum(n24) over w, 0) as dep_24h,
    sum(arr24) over w / nullif(sum(m24) over w, 0) as arr_24h
from net
window w as (partition by a, b order by tick rows unbounded preceding);

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
changes as (
    select a, b, published(scheduled_at + interval 15 minute) as tick, gone, 1.0 as late, 0.0 as very_late from flights
    union all select a, b, published(scheduled_at + interval 60 minute), gone, 0.0, 1.0 from flights
),
net as (
    select a, b, tick, sum(late)::double as late, sum(very_late)::double as very_late
    from (
        select a, b, tick, late, very_late from changes where tick < gone
        union all select a, b, gone, -late, -very_late from changes where tick < gone
    )
    group by all
)
select a, b, tick as valid_from, sum(late) over w as late, sum(very_late) over w as very_late
from net
window w as (partition by a, b order by tick rows unbounded preceding);

-- grain: one row per key and day on which what is known of the last 28 days of arrivals changes, published at midnight
create macro history_by(key_a, key_b, key_c) as table
with
entered as (
    select
        key_a as a, key_b as b, key_c as c, date_trunc('day', known_at) + interval 1 day as day,
        count(*)::double as n, sum((arr_delay >= 15)::integer)::double as late, sum(least(arr_delay, 240))::double as arr
    from arrived group by all
),
net as (
    select a, b, c, day, sum(n) as n, sum(late) as late, sum(arr) as arr
    from (
        select a, b, c, day, n, late, arr from entered
        union all select a, b, c, day + interval 28 day, -n, -late, -arr from entered
    )
    group by all
)
select
    a, b, c, day::timestamp as valid_from,
    sum(n) over w as flights,
    sum(late) over w / nullif(flights, 0) as late_share,
    sum(arr) over w / nullif(flights, 0) as delay
from net
window w as (partition by a, b, c order by day rows unbounded preceding);
