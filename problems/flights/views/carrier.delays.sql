-- grain: one row per carrier and tick at which its delays change
select
    a as carrier,
    valid_from,
    departures_1h as carrier_departures_1h,  -- departures of the carrier in the last hour
    dep_1h as carrier_dep_1h,  -- mean departure delay of the carrier in the last hour, minutes
    arr_1h as carrier_arr_1h,  -- mean arrival delay of the carrier in the last hour, minutes
    dep_3h as carrier_dep_3h,  -- mean departure delay of the carrier in the last 3 hours, minutes
    late_3h as carrier_late_3h,  -- share of departures of the carrier in the last 3 hours that were 15 minutes late or more
    arr_3h as carrier_arr_3h,  -- mean arrival delay of the carrier in the last 3 hours, minutes
    dep_24h as carrier_dep_24h,  -- mean departure delay of the carrier in the last 24 hours, minutes
    arr_24h as carrier_arr_24h  -- mean arrival delay of the carrier in the last 24 hours, minutes
from delays_by(carrier, '')
