-- grain: one row per depot and part of the day, and tick at which what was handed over in the last 7 days changes
with
entered as (
    select
        depot, part, published(known_at) as tick,
        count(*)::bigint as n, sum((late >= 10)::integer)::bigint as late
    from handed_over()
    group by all
),
changes as (
    select depot, part, tick, n, late from entered
    union all select depot, part, tick + interval 7 day, -n, -late from entered
),
net as (select depot, part, tick, sum(n) as n, sum(late) as late from changes group by all)
select
    depot,
    part,
    tick as valid_from,
    (sum(n) over w)::bigint as part_handed_7d,  -- parcels handed over in the last 7 days
    (sum(late) over w)::double / nullif(sum(n) over w, 0) as part_late_7d  -- share of them that was late
from net
window w as (partition by depot, part order by tick rows unbounded preceding)
