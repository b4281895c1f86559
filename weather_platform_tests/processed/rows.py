"""Raw rows for the tests of stage processed: good ones by default, with any cell replaced."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from weather_platform.domain.dates import parse_days
from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS, RAW_SCHEMA, ColumnKind
from weather_platform.domain.stations import STATIONS, station_table
from weather_platform.resources.dbt import DbtCleaning

PROJECT = Path(__file__).parents[2] / "dbt_project"
CATALOGUE = station_table(STATIONS)
FETCHED_AT = datetime(2016, 1, 1, 20, tzinfo=UTC)  # 2 January in Sydney

GOOD: Mapping[str, str | None] = {
    "min_temp_c": "8.1",
    "max_temp_c": "19.4",
    "rainfall_mm": "0.6",
    "evaporation_mm": "3.2",
    "sunshine_hours": "7",
    "wind_gust_direction_deg": "WSW",
    "wind_gust_speed_kmh": "44",
    "wind_direction_9am_deg": "N",
    "wind_direction_3pm_deg": "NNW",
    "wind_speed_9am_kmh": "20",
    "wind_speed_3pm_kmh": "24",
    "humidity_9am_pct": "71",
    "humidity_3pm_pct": "22",
    "pressure_9am_hpa": "1007.7",
    "pressure_3pm_hpa": "1007.1",
    "cloud_9am_oktas": "8",
    "cloud_3pm_oktas": "NA",
    "temp_9am_c": "16.9",
    "temp_3pm_c": "21.8",
    "rain_today": "No",
}


def raw(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """RAW_SCHEMA from a few cells per row; row numbers count up, the month follows from the date."""
    received = list(rows)
    texts = [cells.get("date", "2015-03-04") for cells in received]
    days = parse_days(pa.array(texts, pa.string())).to_pylist()
    full = []
    for number, (cells, text, day) in enumerate(zip(received, texts, days, strict=True), start=2):
        row: dict[str, Any] = dict.fromkeys(RAW_SCHEMA.names) | dict(GOOD)
        row |= {"station": "Albury", "source": "csv", "file": "a.csv", "row_number": number, "day": day}
        row |= {"date": text, "month": f"{day or date(2015, 3, 4):%Y-%m}", "fetched_at": FETCHED_AT}
        full.append(row | dict(cells))
    return pa.Table.from_pylist(full, schema=RAW_SCHEMA)


def raw_again(observations: pa.Table) -> pa.Table:
    """Clean rows as a source would give them, each on its old line: text in the words of the weatherAUS table."""
    kinds = {column.name: column.kind for column in OBSERVATION_COLUMNS}
    return raw(
        {name: _word(kinds[name], value) if name in kinds else value for name, value in row.items() if name != "year"}
        | {"date": row["day"].isoformat()}
        for row in observations.to_pylist()
    )


def _word(kind: ColumnKind, value: float | bool | None) -> str:
    if value is None:
        return "NA"
    if kind == "flag":
        return "Yes" if value else "No"
    if kind == "compass":
        return COMPASS_POINTS[int(value / 22.5)]
    return repr(value)  # the shortest text that is this number and no other


def cleaning(scratch: Path, **changes: Any) -> DbtCleaning:
    """The real dbt project, in a scratch folder of the test."""
    options: dict[str, Any] = {"project": PROJECT, "first_month": "2007-11", "timezone": "Australia/Sydney"}
    return DbtCleaning(**(options | {"scratch_home": scratch} | changes))


class Cleaned:
    """Everything one cleaning gave, read into memory."""

    def __init__(self, made: DbtCleaning, rows: pa.Table, stations: pa.Table = CATALOGUE) -> None:
        with made.cleaned(rows.to_reader(1_000), stations) as years:
            self.clean_rows, self.quarantined_rows = dict(years.clean_rows), dict(years.quarantined_rows)
            self.cell_faults = dict(years.cell_faults)
            all_years = sorted({month[:4] for month in rows["month"].to_pylist()})
            self.observations = pa.concat_tables(years.observations(year).read_all() for year in all_years)
            self.quarantined = pa.concat_tables(years.quarantined(year).read_all() for year in all_years)
