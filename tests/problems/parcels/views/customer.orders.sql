-- grain: one row per customer and tick at which the number of his orders of the last 30 days changes
with
entered as (select customer, published(known_at) as tick, count(*)::bigint as n from ordered group by all),
changes as (
    select customer, tick, n from entered
    union all select customer, tick + interval 30 day, -n from entered
),
net as (select customer, tick, sum(n) as n from changes group by all)
select
    customer,
    tick as valid_from,
    (sum(n) over (partition by customer order by tick rows unbounded preceding))::bigint as customer_orders_30d  -- orders
from net
