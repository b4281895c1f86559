{#- The day of a row lies in the year it is published in, and not before the platform's first month. -#}
{% test days_within_partition(model) %}
select year, station, day
from {{ model }}
where year <> strftime(day, '%Y') or day < date '{{ var("first_day") }}'
{% endtest %}
