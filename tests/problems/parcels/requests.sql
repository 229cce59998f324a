-- grain: one row per parcel: the request that would have been made, three hours before the promise
select
    promised_at - interval 3 hour as moment,
    parcel, customer, depot, town, courier, weight_g, express, event_at as ordered_at, promised_at
from ordered
