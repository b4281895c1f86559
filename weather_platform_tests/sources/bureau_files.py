"""Monthly files in the layout of the Bureau: preamble, unnamed first column, quoted headers, CRLF, no last line end."""

from datetime import date

from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.sources.bureau import COLUMN_ORDER

_HEADERS = {c.name: c.bureau for c in OBSERVATION_COLUMNS} | {
    "date": "Date",
    "wind_gust_time": "Time of maximum wind gust",
    "wind_gust_direction_deg": "Direction of maximum wind gust ",
}
HEADER = "," + ",".join(f'"{_HEADERS[name]}"' for name in COLUMN_ORDER)
ROW = "10.8,21.9,0,4,10.5,SW,28,13:09,18.6,57,1,E,6,1022.5,20.8,43,1, ,Calm,1019.6"
"""A row without its date."""


def bureau_file(title: str, product: str, *remarks: str, first_day: date = date(2014, 8, 1), days: int = 3) -> str:
    """The first days of a month of one station; ``remarks`` are the lines after the copyright."""
    lines = [
        f'"Daily Weather Observations for {title} for {first_day:%B %Y}"',
        f'"Prepared at 13:00 UTC on Tuesday 12 August 2015   {product}.{first_day:%Y%m}"',
        '"Copyright 2003 Commonwealth Bureau of Meteorology"',
        *(f'"{remark}"' for remark in remarks),
        "",
        HEADER,
        *(f",{first_day:%Y-%m}-{day},{ROW}" for day in range(1, days + 1)),
    ]
    return "\r\n".join(lines)
