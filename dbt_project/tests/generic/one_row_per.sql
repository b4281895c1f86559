{#- No two rows share these columns. -#}
{% test one_row_per(model, columns) %}
select {{ columns | join(', ') }}, count(*) as times
from {{ model }}
group by all
having count(*) > 1
{% endtest %}
