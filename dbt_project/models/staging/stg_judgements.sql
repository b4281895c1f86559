{#- The first rule each raw row breaks. The order of the branches is the order of QUARANTINE_RULES. -#}

with placed as (

    select
        cells.row_id, cells.year, cells.month, cells.day, cells.file, cells.row_number,
        coalesce(cells.prepared_at, cells.modified_at) as issued_at,
        cells.station_id as station,
        case
            when cells.day is null then 'unreadable_date'
            when cells.day < date '{{ var("first_day") }}' then 'before_first_month'
            when cells.day > cells.fetched_day then 'future_date'
            when cells.date_fault is not null then cells.date_fault
            when cells.station_id is null then 'unknown_station'
            when cells.min_temp_c > cells.max_temp_c then 'contradictory'
        end as broken
    from {{ ref('stg_cells') }} as cells

),

-- Several rows for one station and day: the last line of the newest file wins, of equally new ones that of the last.
ranked as (

    select
        row_id,
        row_number() over (
            partition by year, station, day
            order by issued_at desc nulls last, file desc, row_number desc, month desc, row_id desc
        ) as place
    from placed
    where broken is null

)

select
    placed.row_id, placed.year, placed.station, placed.day,
    coalesce(placed.broken, case when ranked.place > 1 then 'duplicate' end) as rule
from placed
left join ranked using (row_id)
