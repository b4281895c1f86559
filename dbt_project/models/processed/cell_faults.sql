{#- Cells of clean rows that held something and were made missing, by year, column and fault. -#}
{%- set columns = var('contract').columns -%}

with faulty as (

    select
        judged.year
        {%- for column in columns %},
        cells.{{ column.name }}__fault as {{ column.name }}
        {%- endfor %}
    from {{ ref('stg_cells') }} as cells
    join {{ ref('stg_judgements') }} as judged using (row_id)
    where judged.rule is null
        and coalesce({% for column in columns %}cells.{{ column.name }}__fault{{ ', ' if not loop.last }}{% endfor %}) is not null

)

select
    year, column_name, fault, count(*) as cells
from faulty
unpivot (fault for column_name in ({% for column in columns %}{{ column.name }}{{ ', ' if not loop.last }}{% endfor %}))
group by all
order by all
