{#- How one cell is read. `column` is an entry of the contract: name, kind, unit, low, high. -#}

{#- What the source wrote, in lower case and without white space around it; null when it means "not observed". -#}
{% macro cell_text(column) -%}
    {%- set missing = var('contract').missing_tokens -%}
    {#- Calm air has no direction. -#}
    {%- if column.kind == 'compass' -%}{%- set missing = missing + [var('contract').calm] -%}{%- endif -%}
    {%- set text = "lower(trim(" ~ column.name ~ ", " ~ white_space() ~ "))" -%}
    case when {{ text }} not in ({% for token in missing %}{{ quoted(token | lower) }}{{ ', ' if not loop.last }}{% endfor %}) then {{ text }} end
{%- endmacro %}

{#- The text as a number, degrees or a flag; null when it is none. -#}
{% macro cell_reading(column) -%}
    {%- set text = column.name ~ '__text' -%}
    {%- set points = var('contract').compass_points -%}
    {%- if column.kind == 'compass' -%}
    (list_position([{% for point in points %}{{ quoted(point | lower) }}{{ ', ' if not loop.last }}{% endfor %}], {{ text }}) - 1) * {{ 360 / points | length }}::double
    {%- elif column.kind == 'flag' -%}
    case {{ text }} when 'yes' then true when 'no' then false end
    {%- else -%}
    case
            {#- Calm air moves at 0 km/h. #}
            {%- if column.unit == 'km/h' %}
            when {{ text }} = {{ quoted(var('contract').calm) }} then 0
            {%- endif %}
            {#- DuckDB reads 1_000 as a number; an observer does not write it. #}
            when not contains({{ text }}, '_') then try_cast({{ text }} as double)
        end
    {%- endif -%}
{%- endmacro %}

{#- Why a cell that holds something is not taken; null when it is taken, or empty. -#}
{% macro cell_fault(column) -%}
    {%- set text = column.name ~ '__text' -%}
    {%- set reading = column.name ~ '__reading' -%}
    case
            when {{ text }} is null then null
        {%- if column.kind == 'compass' %}
            when {{ reading }} is null then 'unknown_compass_point'
        {%- elif column.kind == 'flag' %}
            when {{ reading }} is null then 'not_yes_or_no'
        {%- else %}
            when {{ reading }} is null or not isfinite({{ reading }}) then 'not_a_number'
            when {{ reading }} not between {{ column.low }} and {{ column.high }} then 'out_of_range'
        {%- endif %}
        end
{%- endmacro %}

{% macro quoted(text) -%}
    '{{ text | replace("'", "''") }}'
{%- endmacro %}

{#- Blank, tab, line ends and the no-break space. -#}
{% macro white_space() -%}
    ' ' || chr(9) || chr(10) || chr(13) || chr(160)
{%- endmacro %}
