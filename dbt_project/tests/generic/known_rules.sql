{#- Every rejected row names a rule of the contract. -#}
{% test known_rules(model) %}
select distinct rule
from {{ model }}
where rule not in ({% for rule in var('contract').rules %}{{ quoted(rule) }}{{ ', ' if not loop.last }}{% endfor %})
{% endtest %}
