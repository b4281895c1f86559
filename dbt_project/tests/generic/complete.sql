{#- None of these columns is null, in one pass. -#}
{% test complete(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
where {{ columns | join(' is null or ') }} is null
{% endtest %}
