"""The Bureau of Meteorology's monthly station files: their columns, and what they say about their station.

What belongs here: the layout of those files. What does not: reading bytes and rows (``csv_files``), and which station
of the catalogue a file is of (``domain.recognition``).

A file has four to eight quoted lines above its header: a title with station, state and month, the line "Prepared at"
with the product number, and one to three lines that name the stations it was drawn from. A spreadsheet that saves the
file again may keep none of them; the product number in the file's name is left then.
"""

import re
from dataclasses import dataclass, field

from weather_platform.domain.dates import is_day
from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS

BUREAU: dict[str, str] = {
    "Date": "date",
    **{c.bureau: c.name for c in OBSERVATION_COLUMNS if c.bureau is not None},
    "Time of maximum wind gust": "wind_gust_time",
}
"""Header to raw column; the station stands in the preamble and the first, unnamed column is empty."""

BUREAU_OPTIONAL = frozenset({"", "Time of maximum wind gust"})

COLUMN_ORDER: tuple[str, ...] = (
    "date", "min_temp_c", "max_temp_c", "rainfall_mm", "evaporation_mm", "sunshine_hours",
    "wind_gust_direction_deg", "wind_gust_speed_kmh", "wind_gust_time",
    *(f"{name}_{hour}_{unit}" for hour in ("9am", "3pm") for name, unit in (
        ("temp", "c"), ("humidity", "pct"), ("cloud", "oktas"),
        ("wind_direction", "deg"), ("wind_speed", "kmh"), ("pressure", "hpa"),
    )),
)  # fmt: skip
"""The raw columns in the order of the files, without the first, empty one."""

_TITLE = re.compile(
    r"Daily Weather Observations for\s+(?P<station>[^,]+?)\s*(?:,\s*(?P<state>[^,]*?))?\s+for\s+[A-Za-z]+\s+[0-9]{4}\b"
)
_PRODUCT = re.compile(r"(?<![A-Z0-9])(IDCJDW[0-9]{4})(?![0-9])", re.IGNORECASE)
_DRAWN_FROM = re.compile(
    r"(?P<what>[^{.]*?)\bobservations\s+(?:are|were drawn)\s+from\s+[^{]*?\{station\s+(?P<number>[0-9]{1,6})\s*\}",
    re.IGNORECASE,
)
"""A remark may name stations too, as `{station 94250}`, without saying that the file was drawn from them."""
_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")


@dataclass(slots=True)
class Preamble:
    """What the lines above the header, and the file's name, say about the station."""

    file_name: str
    has_title: bool = False
    _station: str | None = None
    _state: str | None = None
    _product: str | None = None
    _main: list[str] = field(default_factory=list)
    _others: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        """Take in one line, its quotes removed and its blanks collapsed."""
        self.has_title |= "Daily Weather Observations" in line
        if self._station is None and (title := _TITLE.search(line)):
            self._station, self._state = title["station"].strip(), title["state"] or None
        if self._product is None and "prepared at" in line.lower() and (product := _PRODUCT.search(line)):
            self._product = product[1].upper()
        if drawn := _DRAWN_FROM.match(line.lstrip('" ')):
            what, number = drawn["what"].strip().lower(), drawn["number"].zfill(6)
            (self._main if not what or "temperature" in what else self._others).append(number)

    def columns(self) -> dict[str, str]:
        """The raw columns that are the same for every row; empty when nothing says which station it is."""
        product = self._product
        if product is None and (named := _PRODUCT.search(self.file_name)):
            product = named[1].upper()
        said = {
            "station": self._station,
            "station_state": self._state,
            "bureau_product": product,
            "bureau_stations": " ".join(dict.fromkeys([*self._main, *self._others])) or None,
        }
        return {name: text for name, text in said.items() if text is not None}


def columns_without_header(cells: list[str]) -> tuple[str | None, ...] | None:
    """The columns of a file that begins with a row in the order of the Bureau's; None when this is not such a row."""
    lead = len(cells) - len(COLUMN_ORDER)
    if lead not in (0, 1) or any(cells[:lead]):
        return None
    row = dict(zip(COLUMN_ORDER, cells[lead:], strict=True))
    compass = {"", "calm", *(point.lower() for point in COMPASS_POINTS)}
    sound = (
        is_day(row["date"])
        and (not row["wind_gust_time"] or _TIME.fullmatch(row["wind_gust_time"]))
        and all(row[name].lower() in compass for name in COLUMN_ORDER if name.startswith(("wind_dir", "wind_gust_dir")))
    )
    return (*[None] * lead, *COLUMN_ORDER) if sound else None
