{#- Every cell of every raw row: text -> reading -> value or fault. The contract says how; no limit is named here. -#}
{%- set contract = var('contract') -%}

with texts as (

    select
        row_id, year, month, station_id, day, fetched_day, source, file, row_number, prepared_at, modified_at, date_fault
        {%- for column in contract.columns %},
        {{ cell_text(column) }} as {{ column.name }}__text
        {%- endfor %}
    from {{ source('scratch', 'raw_observations') }}

),

readings as (

    select
        *
        {%- for column in contract.columns %},
        {{ cell_reading(column) }} as {{ column.name }}__reading
        {%- endfor %}
    from texts

),

faults as (

    select
        *
        {%- for column in contract.columns %},
        {{ cell_fault(column) }} as {{ column.name }}__fault
        {%- endfor %}
    from readings

),

-- The flag says whether it rained, and so does the amount: where they differ, the flag is not believed.
agreed as (

    select
        * replace (
            case
                when rain_today__fault is null
                    and rainfall_mm__fault is null
                    and rain_today__reading <> (rainfall_mm__reading > {{ contract.rain_day_mm }})
                    then 'contradicts_rainfall'
                else rain_today__fault
            end as rain_today__fault
        )
    from faults

)

select
    row_id, year, month, station_id, day, fetched_day, source, file, row_number, prepared_at, modified_at, date_fault
    {%- for column in contract.columns %},
    case when {{ column.name }}__fault is null then {{ column.name }}__reading end as {{ column.name }},
    {{ column.name }}__fault
    {%- endfor %}
from agreed
