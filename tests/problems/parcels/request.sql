-- grain: one row per request
select
    hour(promised_at) as promised_hour,  -- hour of the promise, UTC
    case
        when hour(promised_at) < 6 then 'night' when hour(promised_at) < 14 then 'day' else 'evening'
    end as part,  -- the part of the day it is promised for; a key, not a number
    date_diff('minute', ordered_at, promised_at) as notice,  -- from the order to the promise, minutes
    weight_g / 1000 as kilograms,  -- its weight, kg
    express as express_paid,  -- whether more was paid
    date_diff('minute', courier_seen_at, moment) as courier_unseen,  -- since the courier's last sign, minutes
    case when courier_town = town then 1 when courier_town <> town then 0 end as courier_here,  -- he is in the depot's town
    courier_late_6h - courier_late_24h as courier_trend,  -- the last 6 hours against the last 24, minutes
    courier_handed_6h / nullif(part_handed_7d, 0) as courier_share  -- his part of what the depot handed over
from request
