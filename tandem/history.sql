-- grain: one row per prediction of which it was told what came true: what was known last, then what was told last
create view labels as
with
names as (select distinct problem, json_keys(keys) as names from labels_all where prediction is null),
keyed as (  -- a moment is the same in any zone
    select p.id, names.problem, names.names, list_transform(names.names, lambda n: said(p.request, n)) as keys
    from names join predictions p using (problem)
),
told as (
    select prediction, false as by_keys, id, world, wall, problem, label, known_at
    from labels_all where prediction is not null
    union all
    select keyed.id, true, l.id, l.world, l.wall, l.problem, l.label, l.known_at
    from labels_all l join keyed on
        l.prediction is null and l.problem = keyed.problem and json_keys(l.keys) = keyed.names
        and list_transform(keyed.names, lambda n: said(l.keys, n)) = keyed.keys
)
select
    prediction, label, coalesce(known_at, world) as known_at, world, wall, problem, id, by_keys,
    count(*) over (partition by prediction) as told
from told
qualify row_number() over (partition by prediction order by coalesce(known_at, world) desc, wall desc, id desc) = 1
