{#- Every value lies within the limits of its column; directions are compass points; all in one pass. -#}
{% test within_contract(model) %}
{%- set contract = var('contract') -%}
{%- set step = 360 / contract.compass_points | length %}
select *
from {{ model }}
where false
{%- for column in contract.columns %}
    {%- if column.kind == 'number' %}
    or not (isfinite({{ column.name }}) and {{ column.name }} between {{ column.low }} and {{ column.high }})
    {%- elif column.kind == 'compass' %}
    or not ({{ column.name }} >= 0 and {{ column.name }} < 360 and {{ column.name }} % {{ step }} = 0)
    {%- endif %}
{%- endfor %}
    or rain_today <> (rainfall_mm > {{ contract.rain_day_mm }})
    or min_temp_c > max_temp_c
{% endtest %}
