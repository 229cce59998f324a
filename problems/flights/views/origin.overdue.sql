-- grain: one row per origin and tick at which the number of overdue departures changes
select
    a as origin,
    valid_from,
    late as origin_overdue,  -- departures from the origin that are 15 minutes overdue or more and have not left
    very_late as origin_overdue_1h  -- departures from the origin that are an hour overdue or more and have not left
from overdue_by(origin, '')
