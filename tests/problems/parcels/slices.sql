-- grain: one row per request: the groups for which the model is judged apart
select
    depot as depot,
    part as part_of_day,
    case when express then 'express' else 'standard' end as service
from request
