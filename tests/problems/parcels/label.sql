-- grain: one row per parcel whose outcome is known; null for those that have none
select
    parcel, date_diff('minute', promised_at, delivered.event_at) >= 10 as label, 'delivered' as outcome,
    delivered.known_at as known_at
from delivered join ordered using (parcel)
union all
select parcel, null, 'lost', known_at
from lost
