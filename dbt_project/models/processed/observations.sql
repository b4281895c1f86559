{#- One clean row per station and day, in the order of OBSERVATIONS_SCHEMA. -#}

select
    judged.year, judged.station, judged.day
    {%- for column in var('contract').columns %},
    cells.{{ column.name }}
    {%- endfor %},
    cells.source, cells.file, cells.row_number
from {{ ref('stg_judgements') }} as judged
join {{ ref('stg_cells') }} as cells using (row_id)
where judged.rule is null
order by judged.year, judged.station, judged.day
