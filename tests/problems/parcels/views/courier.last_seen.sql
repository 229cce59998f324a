-- grain: one row per courier and tick at which a scan or a delivery of his is published
with
signs as (
    select courier, known_at, town, null::boolean as signed, parcel from scanned where courier is not null
    union all
    select courier, known_at, null, signed, parcel from delivered where courier is not null
)
select
    courier,
    published(known_at) as valid_from,
    town as courier_town,  -- where he scanned last; not known after he handed a parcel over
    known_at as courier_seen_at,  -- when that was, UTC
    signed as courier_signed  -- whether what he handed over last was signed for
from signs
qualify row_number() over (partition by courier, valid_from order by known_at desc, parcel desc, town) = 1
