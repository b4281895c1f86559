{#- Every station is in the catalogue. -#}
{% test known_stations(model) %}
select distinct observed.station
from {{ model }} as observed
anti join {{ source('scratch', 'stations') }} as catalogue on observed.station = catalogue.id
{% endtest %}
