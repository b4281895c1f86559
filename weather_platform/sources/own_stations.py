"""The user's own stations: `stations.csv` beside the observations.

What belongs here: reading and checking that file, row by row. What does not: the shipped catalogue
(``domain.stations``) and which rows are of which station (``domain.recognition``).

Columns, in any order: id, name, state or country, latitude, longitude, elevation_m, timezone; others are ignored. Every
fault is named with its line, and a file with any fault is not used.
"""

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from weather_platform.domain.recognition import Recogniser, clash, state_code
from weather_platform.domain.stations import (
    ELEVATION_M,
    LATITUDE_DEG,
    LONGITUDE_DEG,
    STATIONS,
    Station,
    match_key,
)
from weather_platform.errors import InvariantError, SourceError
from weather_platform.regular_files import open_regular

FILE_NAME = "stations.csv"
COLUMNS = ("id", "name", "latitude", "longitude", "elevation_m", "timezone")
"""Columns that the file must have, beside `state` or `country`."""
MOST_BYTES = 4 << 20
MOST_STATIONS = 10_000
MOST_ID_CHARACTERS, MOST_TEXT_CHARACTERS = 64, 100
MOST_FAULTS_NAMED = 10

_ID = re.compile(r"[^\W_](?:[\w .-]*[^\W_])?")
"""Letters and digits of any script, with blanks, dots, hyphens and underscores between them: it is a part of URLs."""
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?")


def stations_file(observations: Path) -> Path:
    """Where the own stations of a folder or file of observations are listed; it need not be there."""
    return (observations if observations.is_dir() else observations.parent) / FILE_NAME


def own_stations(observations: Path) -> tuple[Station, ...]:
    """The stations of the `stations.csv` in the folder of the observations, in its order; none without that file.

    Beside a single file of observations another kind of `stations.csv` may be found, with neither of the columns `id`
    and `name`: it is not meant. SourceError names every fault.
    """
    alone, path = not observations.is_dir(), stations_file(observations)
    if path == observations or not os.path.lexists(path):
        return ()
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(path.parent)):
        raise SourceError(f"{path} is a link out of the folder; put the file itself there")
    lines = _text(path).splitlines(keepends=True)
    header = _cells(path, lines)
    if alone and not {"id", "name"} & set(header):
        return ()
    missing = [name for name in COLUMNS if name not in header]
    if not {"state", "country"} & set(header):
        missing.append("state or country")
    if missing:
        raise SourceError(
            f"{path}, line 1: the columns {', '.join(missing)} are missing; it lists your own stations with the "
            f"columns {', '.join(COLUMNS[:2])}, state or country, {', '.join(COLUMNS[2:])}"
        )
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise SourceError(f"{path}, line 1: the columns {', '.join(twice)} are there twice; remove one of each")
    return _checked(path, lines, header)


def _text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}); repair or remove it") from None
    if len(data) > MOST_BYTES:
        raise SourceError(f"{path}: more than {MOST_BYTES >> 20} MB; it lists at most {MOST_STATIONS:,} stations")
    if b"\0" in data:
        raise SourceError(f"{path}: a NUL byte, which text does not contain; save the file as CSV in UTF-8")
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise SourceError(f"{path}: neither UTF-8 nor Windows-1252 text; save the file as UTF-8")


def _cells(path: Path, lines: list[str]) -> list[str]:
    try:
        header = [cell.strip().lower() for cell in next(csv.reader(lines, strict=True), [])]
    except csv.Error as error:
        raise SourceError(f"{path}, line 1: {error}; repair the quotes") from None
    if len(header) == 1 and header[0].count(";") > 1:
        raise SourceError(f"{path}, line 1: the fields are separated by semicolons; save the file with commas")
    return header


def _checked(path: Path, lines: list[str], header: list[str]) -> tuple[Station, ...]:
    stations: list[Station] = []
    faults: list[str] = []
    ids: dict[str, int] = {}
    names: dict[tuple[str, str], int] = {}
    for line, cells in _rows(path, lines):
        if len(stations) == MOST_STATIONS:
            raise SourceError(f"{path}, line {line}: more than {MOST_STATIONS:,} stations; leave some out")
        if len(cells) != len(header):
            faults.append(f"line {line}: {len(cells)} fields instead of {len(header)}")
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        wrong = list(_wrong_cells(row))
        faults += [f"line {line}: {what}" for what in wrong]
        if wrong:
            continue
        station = _station(row)
        faults += [f"line {line}: {what}" for what in _wrong_identity(station, line, ids, names)]
        stations.append(station)
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS_NAMED} more" if len(faults) > MOST_FAULTS_NAMED else ""
        raise SourceError(f"{path}: {'; '.join(faults[:MOST_FAULTS_NAMED])}{more}; correct the file")
    try:
        Recogniser([*STATIONS, *stations])
    except InvariantError as error:
        raise SourceError(f"{path}: {error}") from None
    return tuple(stations)


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that hold anything, each with the line on which it ends."""
    reader = csv.reader(io.StringIO("".join(lines), newline=""), strict=True)
    try:
        for cells in reader:
            if reader.line_num > 1 and any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.line_num}: {error}; repair the quotes") from None


def _station(row: Mapping[str, str]) -> Station:
    return Station(
        id=row["id"],
        state=state_code(row.get("state") or row["country"]),
        latitude_deg=float(row["latitude"]),
        longitude_deg=float(row["longitude"]),
        elevation_m=float(row["elevation_m"]),
        timezone=row["timezone"],
        name=row["name"],
    )


def _wrong_cells(row: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the cells of a row, each for itself."""
    if len(row["id"]) > MOST_ID_CHARACTERS or not _ID.fullmatch(row["id"]):
        yield (
            f"id {row['id']!r:.80} is not 1 to {MOST_ID_CHARACTERS} letters and digits "
            "(blanks, '.', '-' and '_' may be between them)"
        )
    place = row.get("state") or row.get("country") or ""
    for column, text in (("name", row["name"]), ("state or country", place)):
        if len(text) > MOST_TEXT_CHARACTERS or not text.isprintable():
            yield f"{column} {text!r:.80} is longer than {MOST_TEXT_CHARACTERS} characters or not printable"
    if not match_key(place):
        yield "state or country is empty"
    for column, (low, high) in (("latitude", LATITUDE_DEG), ("longitude", LONGITUDE_DEG), ("elevation_m", ELEVATION_M)):
        text = row[column]
        if not _NUMBER.fullmatch(text):
            yield f"{column} {text!r:.40} is not a number with a decimal point"
        elif not low <= float(text) <= high:
            yield f"{column} {text:.40} is not between {low} and {high}"
    if not _is_timezone(row["timezone"]):
        yield f"time zone {row['timezone']!r:.80} is unknown; use a name such as Europe/Amsterdam"


def _wrong_identity(
    station: Station, line: int, ids: dict[str, int], names: dict[tuple[str, str], int]
) -> Iterator[str]:
    """Whether a station is there twice, or is one of the shipped catalogue."""
    if (shipped := clash(station, STATIONS)) is not None:
        yield (
            f"{station.id!r} would be taken for {shipped} of the shipped catalogue; leave it out, or give it another "
            "id and name"
        )
    state = match_key(station.state)
    if (first := ids.setdefault(match_key(station.id), line)) != line:
        yield f"id {station.id!r} is that of line {first}"
        return
    for key, name in {match_key(station.id): station.id, match_key(station.name): station.name}.items():
        if key and (first := names.setdefault((key, state), line)) != line:
            yield f"{name!r} of {station.state} is also what line {first} is called; give one another name"


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
