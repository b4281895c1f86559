{#- Per year, the rows of the parts are together as many as the rows of the whole: nothing lost, nothing invented. -#}
{% test rows_add_up(model, parts) %}
with whole as (
    select year, count(*) as whole_rows from {{ model }} group by year
),

parts as (
    select year, sum(part_rows) as part_rows
    from (
        {%- for part in parts %}
        select year, count(*) as part_rows from {{ ref(part) }} group by year
        {{- ' union all' if not loop.last }}
        {%- endfor %}
    )
    group by year
)

select year, whole_rows, part_rows
from whole
full join parts using (year)
where whole_rows is distinct from part_rows
{% endtest %}
