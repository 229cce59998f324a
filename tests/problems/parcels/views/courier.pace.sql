-- grain: one row per courier and tick at which what he handed over in the last 6 or 24 hours changes
with
entered as (
    select courier, published(known_at) as tick, count(*)::bigint as n, sum(late)::bigint as late
    from handed_over()
    where courier is not null
    group by all
),
changes as (
    select courier, tick, n as n6, late as late6, n as n24, late as late24 from entered
    union all select courier, tick + interval 6 hour, -n, -late, 0, 0 from entered
    union all select courier, tick + interval 24 hour, 0, 0, -n, -late from entered
),
net as (
    select courier, tick, sum(n6) as n6, sum(late6) as late6, sum(n24) as n24, sum(late24) as late24
    from changes group by all
)
select
    courier,
    tick as valid_from,
    (sum(n6) over w)::bigint as courier_handed_6h,  -- parcels he handed over in the last 6 hours
    (sum(late6) over w)::double / nullif(sum(n6) over w, 0) as courier_late_6h,  -- how late they were on average, minutes
    (sum(late24) over w)::double / nullif(sum(n24) over w, 0) as courier_late_24h  -- the same of the last 24 hours, minutes
from net
window w as (partition by courier order by tick rows unbounded preceding)
