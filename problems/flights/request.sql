-- grain: one row per request
select
    hour(scheduled_at at time zone 'UTC' at time zone 'America/New_York') as local_hour,  -- local hour of the departure
    hour(scheduled_at at time zone 'UTC' at time zone 'America/New_York') * 60
        + minute(scheduled_at) as local_minute,  -- local minute of the day of the departure
    date_part('isodow', scheduled_at at time zone 'UTC' at time zone 'America/New_York') as weekday,  -- 1 is Monday
    date_diff('minute', scheduled_at, arrives_at) as block,  -- scheduled length of the flight, minutes
    distance as miles,  -- length of the flight
    date_trunc('hour', scheduled_at) as slot,  -- the hour of the schedule it is in; a key, not a number
    'New York' as city,  -- of all origins; a key
    date_diff('minute', leg_due_at, scheduled_at) as leg_slack,  -- from the aircraft's last known arrival to this departure, minutes
    date_diff('minute', leg_due_at, scheduled_at) - leg_block as turn_slack,  -- the same, less the way back
    date_diff('minute', leg_scheduled_at, scheduled_at) as leg_gap,  -- from the schedule of the aircraft's last leg to this one, minutes
    case when leg_stage = 0 then date_diff('minute', leg_scheduled_at, moment) end as leg_waiting,  -- how long its last leg is overdue, minutes
    case when leg_dest = dest then 1 when leg_dest <> dest then 0 end as leg_same_dest,  -- its last leg went to the same place
    here_dep_3h - carrier_dep_24h as here_dep_trend,  -- the carrier here and now against the carrier yesterday, minutes
    origin_dep_1h - origin_dep_3h as origin_dep_trend,  -- the origin's last hour against its last three, minutes
    origin_overdue / nullif(slot_departures, 0) as overdue_share  -- overdue departures against those of the hour
from request
