-- grain: one row per request: the groups for which the model is judged apart
select
    origin as origin,
    carrier as carrier,
    case
        when distance < 500 then 'under 500 miles' when distance < 1500 then '500 to 1500 miles' else 'over 1500 miles'
    end as haul,
    case
        when local_hour < 10 then 'morning' when local_hour < 16 then 'midday' else 'evening'
    end as part_of_day
from request
