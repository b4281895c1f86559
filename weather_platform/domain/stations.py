"""The station catalogue and the geometry between stations: great-circle distances and bearings.

What belongs here: who the stations are and where. What does not: what they observed, and the neighbour weights
(``features``). Positions are approximate (0.01 degrees) facts published by the Bureau of Meteorology.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0088

LATITUDE_DEG, LONGITUDE_DEG, ELEVATION_M = (-90, 90), (-180, 180), (-450, 6000)
"""Where a station on land can be, inclusive: from the shore of the Dead Sea to the highest permanent ones."""


@dataclass(frozen=True, slots=True)
class Station:
    """One station: catalogue id, state or country, position in degrees (south and west negative), metres above the sea.

    ``name`` is another name of it, empty when the id is its only one.
    """

    id: str
    state: str
    latitude_deg: float
    longitude_deg: float
    elevation_m: float
    timezone: str
    name: str = ""


STATIONS: tuple[Station, ...] = (
    Station("Adelaide", "SA", -34.92, 138.62, 48, "Australia/Adelaide"),
    Station("Albany", "WA", -34.94, 117.82, 68, "Australia/Perth"),
    Station("Albury", "NSW", -36.07, 146.95, 164, "Australia/Sydney"),
    Station("AliceSprings", "NT", -23.8, 133.89, 546, "Australia/Darwin"),
    Station("BadgerysCreek", "NSW", -33.9, 150.73, 81, "Australia/Sydney"),
    Station("Ballarat", "VIC", -37.51, 143.79, 435, "Australia/Melbourne"),
    Station("Bendigo", "VIC", -36.74, 144.33, 208, "Australia/Melbourne"),
    Station("Brisbane", "QLD", -27.48, 153.04, 8, "Australia/Brisbane"),
    Station("Cairns", "QLD", -16.87, 145.75, 2, "Australia/Brisbane"),
    Station("Canberra", "ACT", -35.31, 149.2, 577, "Australia/Sydney"),
    Station("Cobar", "NSW", -31.48, 145.83, 260, "Australia/Sydney"),
    Station("CoffsHarbour", "NSW", -30.32, 153.12, 5, "Australia/Sydney"),
    Station("Dartmoor", "VIC", -37.92, 141.26, 51, "Australia/Melbourne"),
    Station("Darwin", "NT", -12.42, 130.89, 30, "Australia/Darwin"),
    Station("GoldCoast", "QLD", -27.94, 153.43, 3, "Australia/Brisbane"),
    Station("Hobart", "TAS", -42.89, 147.33, 51, "Australia/Hobart"),
    Station("Katherine", "NT", -14.52, 132.38, 134, "Australia/Darwin"),
    Station("Launceston", "TAS", -41.42, 147.12, 5, "Australia/Hobart"),
    Station("Melbourne", "VIC", -37.83, 144.98, 31, "Australia/Melbourne"),
    Station("MelbourneAirport", "VIC", -37.67, 144.83, 113, "Australia/Melbourne"),
    Station("Mildura", "VIC", -34.24, 142.09, 50, "Australia/Melbourne"),
    Station("Moree", "NSW", -29.49, 149.85, 213, "Australia/Sydney"),
    Station("MountGambier", "SA", -37.75, 140.77, 63, "Australia/Adelaide"),
    Station("MountGinini", "ACT", -35.53, 148.77, 1760, "Australia/Sydney"),
    Station("Newcastle", "NSW", -32.92, 151.8, 33, "Australia/Sydney"),
    Station("Nhil", "VIC", -36.31, 141.65, 139, "Australia/Melbourne"),
    Station("NorahHead", "NSW", -33.28, 151.58, 19, "Australia/Sydney"),
    Station("NorfolkIsland", "NFK", -29.04, 167.94, 112, "Pacific/Norfolk"),
    Station("Nuriootpa", "SA", -34.48, 139.01, 275, "Australia/Adelaide"),
    Station("PearceRAAF", "WA", -31.67, 116.02, 40, "Australia/Perth"),
    Station("Penrith", "NSW", -33.72, 150.68, 25, "Australia/Sydney"),
    Station("Perth", "WA", -31.92, 115.87, 25, "Australia/Perth"),
    Station("PerthAirport", "WA", -31.93, 115.98, 15, "Australia/Perth"),
    Station("Portland", "VIC", -38.31, 141.47, 81, "Australia/Melbourne"),
    Station("Richmond", "NSW", -33.6, 150.78, 19, "Australia/Sydney"),
    Station("Sale", "VIC", -38.12, 147.13, 5, "Australia/Melbourne"),
    Station("SalmonGums", "WA", -32.99, 121.64, 249, "Australia/Perth"),
    Station("Sydney", "NSW", -33.86, 151.21, 40, "Australia/Sydney"),
    Station("SydneyAirport", "NSW", -33.95, 151.17, 6, "Australia/Sydney"),
    Station("Townsville", "QLD", -19.25, 146.77, 4, "Australia/Brisbane"),
    Station("Tuggeranong", "ACT", -35.42, 149.09, 587, "Australia/Sydney"),
    Station("Uluru", "NT", -25.19, 130.98, 496, "Australia/Darwin"),
    Station("WaggaWagga", "NSW", -35.16, 147.46, 212, "Australia/Sydney"),
    Station("Walpole", "WA", -35.0, 116.73, 73, "Australia/Perth"),
    Station("Watsonia", "VIC", -37.71, 145.1, 66, "Australia/Melbourne"),
    Station("Williamtown", "NSW", -32.79, 151.84, 9, "Australia/Sydney"),
    Station("Witchcliffe", "WA", -34.03, 115.1, 80, "Australia/Perth"),
    Station("Wollongong", "NSW", -34.37, 150.93, 10, "Australia/Sydney"),
    Station("Woomera", "SA", -31.16, 136.81, 167, "Australia/Adelaide"),
)  # fmt: skip
"""The 49 stations of the weatherAUS table, in order of id."""


STATIONS_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("state", pa.string(), nullable=False),
        pa.field("latitude_deg", pa.float64(), nullable=False),
        pa.field("longitude_deg", pa.float64(), nullable=False),
        pa.field("elevation_m", pa.float64(), nullable=False),
        pa.field("timezone", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
    ]
)


def station_table(stations: Sequence[Station]) -> pa.Table:
    """A catalogue as a table, in the order given."""
    return pa.Table.from_pylist([asdict(station) for station in stations], schema=STATIONS_SCHEMA)


def stations_of(table: pa.Table) -> tuple[Station, ...]:
    """The stations of a stored catalogue, in its order. One of an earlier version has no names."""
    return tuple(Station(**row) for row in table.to_pylist())


_UNTOLD = ("Z", "P", "Cc", "Cf")
"""Unicode's blanks, punctuation, controls and invisible marks, none of which tells two stations apart."""


def match_key(text: str) -> str:
    """What the spellings of a name have in common: all but case, blanks and punctuation.

    Letters of any script stay: they make another name.
    """
    lower = unicodedata.normalize("NFC", text).lower()
    plain = re.sub(r"[\0-/:-`{-\x7f]", "", lower)
    return plain if plain.isascii() else "".join(c for c in plain if not unicodedata.category(c).startswith(_UNTOLD))


def distance_km(
    latitude_deg: NDArray[np.float64],
    longitude_deg: NDArray[np.float64],
    to_latitude_deg: NDArray[np.float64],
    to_longitude_deg: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Great-circle distance by the haversine formula; the arguments broadcast."""
    phi, to_phi = np.radians(latitude_deg), np.radians(to_latitude_deg)
    half_dphi = (to_phi - phi) / 2
    half_dlambda = np.radians(to_longitude_deg - longitude_deg) / 2
    a = np.sin(half_dphi) ** 2 + np.cos(phi) * np.cos(to_phi) * np.sin(half_dlambda) ** 2
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(a, 0.0, 1.0))))


def bearing_deg(
    latitude_deg: NDArray[np.float64],
    longitude_deg: NDArray[np.float64],
    to_latitude_deg: NDArray[np.float64],
    to_longitude_deg: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Initial bearing of the great circle, 0 north, 90 east, in [0, 360); the arguments broadcast."""
    phi, to_phi = np.radians(latitude_deg), np.radians(to_latitude_deg)
    dlambda = np.radians(to_longitude_deg - longitude_deg)
    y = np.sin(dlambda) * np.cos(to_phi)
    x = np.cos(phi) * np.sin(to_phi) - np.sin(phi) * np.cos(to_phi) * np.cos(dlambda)
    return np.asarray(np.degrees(np.arctan2(y, x)) % 360.0)
