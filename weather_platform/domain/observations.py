"""The column contract of an observed station-day: the one table that dbt, the checks, the features and the API read.

What belongs here: names, units, physical ranges and source headers of every column, and the Arrow schema of the
raw rows. What does not: reading files (``sources``), cleaning rules (``dbt_project``), features (``features``).

Units are part of the names. Ranges are physical limits with a margin beyond the records of the Bureau of
Meteorology and the WMO archive: a value outside is an instrument or typing fault, not weather.
"""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

ColumnKind = Literal["number", "compass", "flag"]

COMPASS_POINTS: tuple[str, ...] = (
    "N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW",
)  # fmt: skip
"""The 16 compass points in order; point ``i`` is ``i * 22.5`` degrees, the direction the wind comes FROM."""

MISSING_TOKENS: tuple[str, ...] = ("", "NA", "NaN", "null", "-")
"""Texts that mean "not observed". Compared after trimming white space, in any letter case."""

CALM = "calm"
"""The Bureau's word for a wind speed of 0 (any letter case); in a direction column it means "no direction"."""

RAIN_DAY_MM = 1.0
"""A day is a rain day when MORE than this many millimetres fell (RainToday of the weatherAUS table)."""


@dataclass(frozen=True, slots=True)
class Column:
    """One observed quantity.

    ``low`` and ``high`` are inclusive physical limits in ``unit`` (None for compass points and flags).
    ``weather_aus`` and ``bureau`` are the headers in the two historic file layouts (None: not in that layout).
    """

    name: str
    unit: str
    kind: ColumnKind
    low: float | None
    high: float | None
    weather_aus: str
    bureau: str | None
    description: str


OBSERVATION_COLUMNS: tuple[Column, ...] = (
    Column("min_temp_c", "degC", "number", -30, 45, "MinTemp", "Minimum temperature (°C)", "Minimum temperature in the 24 hours to 9 am"),
    Column("max_temp_c", "degC", "number", -30, 55, "MaxTemp", "Maximum temperature (°C)", "Maximum temperature in the 24 hours from 9 am"),
    Column("rainfall_mm", "mm", "number", 0, 1000, "Rainfall", "Rainfall (mm)", "Rainfall in the 24 hours to 9 am"),
    Column("evaporation_mm", "mm", "number", 0, 150, "Evaporation", "Evaporation (mm)", "Class A pan evaporation in the 24 hours to 9 am"),
    Column("sunshine_hours", "h", "number", 0, 24, "Sunshine", "Sunshine (hours)", "Bright sunshine in the 24 hours to midnight"),
    Column("wind_gust_direction_deg", "deg", "compass", None, None, "WindGustDir", "Direction of maximum wind gust", "Direction of the strongest gust in the 24 hours to midnight"),
    Column("wind_gust_speed_kmh", "km/h", "number", 0, 420, "WindGustSpeed", "Speed of maximum wind gust (km/h)", "Speed of the strongest gust in the 24 hours to midnight"),
    Column("wind_direction_9am_deg", "deg", "compass", None, None, "WindDir9am", "9am wind direction", "Wind direction at 9 am"),
    Column("wind_direction_3pm_deg", "deg", "compass", None, None, "WindDir3pm", "3pm wind direction", "Wind direction at 3 pm"),
    Column("wind_speed_9am_kmh", "km/h", "number", 0, 300, "WindSpeed9am", "9am wind speed (km/h)", "Wind speed averaged over 10 minutes before 9 am"),
    Column("wind_speed_3pm_kmh", "km/h", "number", 0, 300, "WindSpeed3pm", "3pm wind speed (km/h)", "Wind speed averaged over 10 minutes before 3 pm"),
    Column("humidity_9am_pct", "%", "number", 0, 100, "Humidity9am", "9am relative humidity (%)", "Relative humidity at 9 am"),
    Column("humidity_3pm_pct", "%", "number", 0, 100, "Humidity3pm", "3pm relative humidity (%)", "Relative humidity at 3 pm"),
    Column("pressure_9am_hpa", "hPa", "number", 870, 1085, "Pressure9am", "9am MSL pressure (hPa)", "Pressure reduced to mean sea level at 9 am"),
    Column("pressure_3pm_hpa", "hPa", "number", 870, 1085, "Pressure3pm", "3pm MSL pressure (hPa)", "Pressure reduced to mean sea level at 3 pm"),
    Column("cloud_9am_oktas", "oktas", "number", 0, 9, "Cloud9am", "9am cloud amount (oktas)", "Fraction of sky obscured by cloud at 9 am; 9 means the sky cannot be seen"),
    Column("cloud_3pm_oktas", "oktas", "number", 0, 9, "Cloud3pm", "3pm cloud amount (oktas)", "Fraction of sky obscured by cloud at 3 pm; 9 means the sky cannot be seen"),
    Column("temp_9am_c", "degC", "number", -30, 55, "Temp9am", "9am Temperature (°C)", "Temperature at 9 am"),
    Column("temp_3pm_c", "degC", "number", -30, 55, "Temp3pm", "3pm Temperature (°C)", "Temperature at 3 pm"),
    Column("rain_today", "-", "flag", None, None, "RainToday", None, "Whether rainfall_mm is more than 1.0, as the source says it"),
)  # fmt: skip
"""The 20 observed quantities, in table order. Numbers are float64, compass points degrees (float64), flags bool."""


def column(name: str) -> Column:
    """The contract of one column; KeyError for a name that is not observed."""
    return _BY_NAME[name]


_BY_NAME = {c.name: c for c in OBSERVATION_COLUMNS}

RAW_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("month", pa.string(), nullable=False),  # partition, YYYY-MM
        pa.field("day", pa.date32()),  # the one reading of `date`; null when it cannot be read as a date
        pa.field("station", pa.string()),  # text as received
        pa.field("station_state", pa.string()),  # Bureau layout only: the state in the title
        pa.field("bureau_product", pa.string()),  # Bureau layout only: IDCJDWnnnn, of the preamble or the file's name
        pa.field("bureau_stations", pa.string()),  # Bureau layout only: numbers of its stations, the main one first
        pa.field("date", pa.string()),  # text as received
        *(pa.field(c.name, pa.string()) for c in OBSERVATION_COLUMNS),  # text as received
        pa.field("wind_gust_time", pa.string()),  # Bureau layout only
        pa.field("risk_mm", pa.string()),  # weatherAUS only: TOMORROW's rainfall, kept as received and never used
        pa.field("rain_tomorrow", pa.string()),  # weatherAUS only: tomorrow's answer, kept as received and never used
        pa.field("source", pa.string(), nullable=False),  # "csv", "synthetic"
        pa.field("file", pa.string(), nullable=False),  # path below the source's folder, or the generator's name
        pa.field("row_number", pa.int64(), nullable=False),  # line in the file (1 is its first line), unique per file
        pa.field("fetched_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("prepared_at", pa.timestamp("us", tz="UTC")),  # when the file says that it was made; null: it does not
        pa.field("modified_at", pa.timestamp("us", tz="UTC")),  # when the file was last changed on disk; null: no file
        pa.field("date_fault", pa.string()),  # the rule of the quarantine that the date breaks within its file
    ]
)
"""Rows exactly as received. Every column between `station` and `rain_tomorrow` is text, untouched."""


def raw_rows(table: pa.Table) -> pa.Table:
    """Stored raw rows as RAW_SCHEMA: columns that an earlier version did not store are null, the order is that here."""
    return pa.Table.from_arrays(
        [
            table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
            for field in RAW_SCHEMA
        ],
        schema=RAW_SCHEMA,
    )


OBSERVATIONS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("year", pa.string(), nullable=False),  # partition, YYYY
        pa.field("station", pa.string(), nullable=False),  # catalogue id
        pa.field("day", pa.date32(), nullable=False),  # the station's local day
        *(pa.field(c.name, pa.bool_() if c.kind == "flag" else pa.float64()) for c in OBSERVATION_COLUMNS),
        pa.field("source", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row_number", pa.int64(), nullable=False),
    ]
)
"""One clean row per station and day. `source`, `file` and `row_number` lead back to the raw row."""

QUARANTINE_RULES: tuple[str, ...] = (
    "unreadable_date",
    "before_first_month",
    "future_date",
    "outside_file_month",
    "stray_date",
    "unknown_station",
    "contradictory",
    "duplicate",
)
"""Why a row is rejected; the first rule in this order that a row breaks is the one recorded."""

QUARANTINE_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("year", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        *(pa.field(f.name, f.type, nullable=f.nullable) for f in RAW_SCHEMA),
    ]
)
"""A rejected raw row, whole, with the year partition it was published in and the rule it broke."""
