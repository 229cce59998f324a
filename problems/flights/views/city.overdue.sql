-- grain: one row per tick at which the number of overdue departures changes
select
    a as city,
    valid_from,
    late as city_overdue,  -- departures from all origins that are 15 minutes overdue or more and have not left
    very_late as city_overdue_1h  -- departures from all origins that are an hour overdue or more and have not left
from overdue_by('New York', '')
