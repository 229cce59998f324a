-- grain: one row per destination and tick at which the number of overdue departures changes
select
    a as dest,
    valid_from,
    late as dest_overdue,  -- departures to the destination that are 15 minutes overdue or more and have not left
    very_late as dest_overdue_1h  -- departures to the destination that are an hour overdue or more and have not left
from overdue_by(dest, '')
