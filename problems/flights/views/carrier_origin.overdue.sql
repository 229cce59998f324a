-- grain: one row per carrier and origin and tick at which the number of overdue departures changes
select
    a as carrier,
    b as origin,
    valid_from,
    late as here_overdue,  -- departures of the carrier from the origin that are 15 minutes overdue or more and have not left
    very_late as here_overdue_1h  -- departures of the carrier from the origin that are an hour overdue or more and have not left
from overdue_by(carrier, origin)
