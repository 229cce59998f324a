-- grain: one row per origin and tick at which its delays change
select
    a as origin,
    valid_from,
    departures_1h as origin_departures_1h,  -- departures from the origin in the last hour
    dep_1h as origin_dep_1h,  -- mean departure delay from the origin in the last hour, minutes
    arr_1h as origin_arr_1h,  -- mean arrival delay from the origin in the last hour, minutes
    dep_3h as origin_dep_3h,  -- mean departure delay from the origin in the last 3 hours, minutes
    late_3h as origin_late_3h,  -- share of departures from the origin in the last 3 hours that were 15 minutes late or more
    arr_3h as origin_arr_3h,  -- mean arrival delay from the origin in the last 3 hours, minutes
    dep_24h as origin_dep_24h,  -- mean departure delay from the origin in the last 24 hours, minutes
    arr_24h as origin_arr_24h  -- mean arrival delay from the origin in the last 24 hours, minutes
from delays_by(origin, '')
