-- grain: one row per parcel, known when it is ordered; the promise is turned from the depot's wall clock into UTC
select
    parcel, customer, orders.depot, courier, town, weight_g, express,
    timezone('UTC', timezone(zone, promised_local)) as promised_at,
    ordered_at as event_at, ordered_at as known_at,
    orders.row
from orders left join depots on depots.depot = orders.depot
