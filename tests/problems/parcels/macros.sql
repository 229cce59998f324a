-- What views share.

-- grain: one row per parcel handed over, with how late it was
create macro handed_over() as table
select
    delivered.known_at, delivered.courier, delivered.signed, depot,
    case when hour(promised_at) < 6 then 'night' when hour(promised_at) < 14 then 'day' else 'evening' end as part,
    date_diff('minute', promised_at, delivered.event_at) as late
from delivered join ordered using (parcel);
