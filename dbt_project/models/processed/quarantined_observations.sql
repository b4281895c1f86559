{#- Every rejected row, whole and as received, with the rule it broke. -#}

select
    judged.year, judged.rule, raw.* exclude (row_id, year, fetched_day, station_id)
from {{ ref('stg_judgements') }} as judged
join {{ source('scratch', 'raw_observations') }} as raw using (row_id)
where judged.rule is not null
order by judged.year, raw.file, raw.row_number, raw.row_id
