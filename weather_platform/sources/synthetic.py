"""Invented but plausible observations: a seeded climate for demonstrations, tests and load.

What belongs here: the generator and its climate. What does not: anything learned from real rows.

Pressure, moisture and warmth are sums of travelling waves, drifting from west to east and waxing and waning
slowly, so that what a western neighbour sees today reaches its eastern neighbour tomorrow. Mesoscale weather
that nobody can foresee is a smooth random field drawn anew for every day; a share of tomorrow's shows in
today's afternoon. Every number of a day is a function of the seed, the day and the station alone: months may
be asked for in any order, and the coverage or the number of stations changes no row of those that are there.
As in the real table, some stations never report evaporation, sunshine, cloud or pressure, single cells are
missing, some station-days are not reported at all, and a few rows are dirty, so that quarantine has work to
do.
"""

import calendar
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtr

from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS, RAW_SCHEMA, column
from weather_platform.domain.stations import EARTH_RADIUS_KM, STATIONS, Station
from weather_platform.errors import SourceError
from weather_platform.sources import Coverage

Floats = NDArray[np.float64]

MOST_STATIONS = 100_000
ROWS_AT_A_TIME = 16_384
"""Station-days computed together: small enough for the processor's cache."""

DIRTY_SHARE = 1 / 5_000
"""Share of dirty rows, divided evenly between the DIRTY kinds."""
DIRTY = ("duplicate", "unreadable date", "unknown station", "out of range", "minimum above maximum")
UNKNOWN_STATION = "Nowhere"
OUT_OF_RANGE = 999
"""A maximum temperature of 99.9 degrees, in tenths."""
MIN_TEMP, MAX_TEMP = column("min_temp_c"), column("max_temp_c")
"""The contract that generated temperatures keep to, however far the climate is shifted."""
UNREPORTED_SHARE = 0.005
"""Share of station-days without a row."""

ABSENT_SHARE: dict[str, float] = {
    "evaporation_mm": 16 / 49, "sunshine_hours": 19 / 49, "cloud_9am_oktas": 12 / 49,
    "cloud_3pm_oktas": 12 / 49, "pressure_9am_hpa": 4 / 49, "pressure_3pm_hpa": 4 / 49,
    "wind_gust_speed_kmh": 2 / 49, "wind_gust_direction_deg": 2 / 49,
}  # fmt: skip
"""Share of stations that never report a quantity, as in the real table. Pairs share their instrument."""

MISSING_SHARE: dict[str, float] = {
    "min_temp_c": 0.004, "max_temp_c": 0.002, "rainfall_mm": 0.010, "evaporation_mm": 0.12,
    "sunshine_hours": 0.107, "wind_gust_direction_deg": 0.025, "wind_gust_speed_kmh": 0.024,
    "wind_direction_9am_deg": 0.01, "wind_direction_3pm_deg": 0.01, "wind_speed_9am_kmh": 0.010,
    "wind_speed_3pm_kmh": 0.013, "humidity_9am_pct": 0.013, "humidity_3pm_pct": 0.016,
    "pressure_9am_hpa": 0.015, "pressure_3pm_hpa": 0.015, "cloud_9am_oktas": 0.16, "cloud_3pm_oktas": 0.175,
    "temp_9am_c": 0.007, "temp_3pm_c": 0.010,
}  # fmt: skip
"""Share of cells missing at random where the station does report the quantity."""

COAST: tuple[tuple[float, float], ...] = (
    (-12.2, 130.9), (-12.0, 133.0), (-12.2, 136.7), (-15.0, 135.6), (-17.7, 139.5), (-16.5, 141.3),
    (-10.9, 142.4), (-14.5, 144.6), (-16.9, 145.8), (-19.3, 146.8), (-21.2, 149.2), (-23.8, 151.3),
    (-25.5, 153.0), (-28.2, 153.5), (-31.0, 153.0), (-33.9, 151.2), (-37.5, 149.9), (-38.9, 146.4),
    (-38.2, 144.8), (-38.8, 143.5), (-38.0, 140.7), (-35.6, 139.0), (-34.8, 138.4), (-35.2, 136.9),
    (-32.6, 137.8), (-34.9, 135.9), (-32.0, 133.0), (-31.6, 130.0), (-32.3, 127.0), (-33.9, 123.5),
    (-35.0, 118.0), (-34.3, 115.1), (-31.9, 115.8), (-28.7, 114.6), (-26.0, 113.4), (-22.0, 113.9),
    (-20.4, 118.0), (-18.0, 122.2), (-16.3, 123.5), (-14.2, 126.5), (-14.9, 129.3),
)  # fmt: skip
"""The mainland's coast, roughly, as (latitude, longitude). Places outside count as on the coast."""

ORIGIN = (-27.0, 134.0)
"""The plane of the waves touches the globe here; positions in it are kilometres east and north."""


@dataclass(frozen=True, slots=True)
class ClimateShift:
    """A change of the climate from one day on, to see drift and retraining at work.

    `temp_c` degrees are added to every temperature and rainfall is multiplied by `rain_factor`.
    """

    from_day: date
    temp_c: float
    rain_factor: float


class SyntheticSource:
    """Rows for `station_count` stations from `first_day` to `last_day`, RAW_SCHEMA text in the weatherAUS
    manner.

    The first 49 stations are those of the catalogue; more are placed on the mainland at random (SYN00050,
    ...).
    """

    name: str = "synthetic"
    synthetic: bool = True

    def __init__(
        self,
        *,
        seed: int,
        station_count: int,
        first_day: date,
        last_day: date,
        shift: ClimateShift | None,
        first_month: str,
        fetched_at: datetime,
    ) -> None:
        if fetched_at.tzinfo is None:
            raise ValueError("fetched_at must carry a time zone: the platform's, which says which day today is")
        if not 0 <= seed < 1 << 63:
            raise SourceError(f"the synthetic seed {seed} is not a non-negative 63-bit number; choose another")
        if not 1 <= station_count <= MOST_STATIONS:
            raise SourceError(f"{station_count} synthetic stations; choose 1 to {MOST_STATIONS:,}")
        if last_day < first_day:
            raise SourceError(f"the synthetic days end on {last_day}, before they begin on {first_day}; swap them")
        if f"{first_day:%Y-%m}" < first_month:
            raise SourceError(
                f"the synthetic days begin on {first_day}, before the first month {first_month}; start later"
            )
        if last_day > fetched_at.date():
            raise SourceError(
                f"the synthetic days end on {last_day}, after today {fetched_at.date()}; end them earlier"
            )
        if shift is not None and shift.rain_factor < 0:
            raise SourceError(f"the synthetic rain factor {shift.rain_factor} is negative; choose 0 or more")
        self._coverage = Coverage(first_day, last_day)
        self._fetched_at = fetched_at
        self.generator: str | None = f"synthetic:{seed}"
        self._shift = shift
        self._stations = _stations(seed, station_count)
        self._climate = _Climate(seed, self._stations, shift)
        self._station_texts = pa.array([*(s.id for s in self._stations), UNKNOWN_STATION])

    def stations(self) -> tuple[Station, ...]:
        """The catalogue, and the invented stations after it."""
        return self._stations

    def stamp(self) -> str:
        """Everything that the rows are a function of."""
        return f"{self.generator} stations={len(self._stations)} {self._coverage} {self._shift}"

    def coverage(self) -> Coverage:
        """The days asked for."""
        return self._coverage

    def remarks(self) -> tuple[str, ...]:
        """None: generated rows are all sound."""
        return ()

    def rows(self, month: str) -> pa.Table:
        """The rows of one month (YYYY-MM). `row_number` depends only on day and station."""
        days = self._days(month)
        count = len(self._stations)
        step = max(1, ROWS_AT_A_TIME // count)
        blocks = [self._climate.observe(days[at : at + step]) for at in range(0, len(days), step)]
        codes = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        dirty = codes.pop("dirty")

        # One flat selection: unreported station-days fall out, duplicated ones come twice.
        repeats = (codes.pop("reported") > 0).astype(np.int64)
        repeats[(dirty == _dirty("duplicate")) & (repeats == 1)] = 2
        picked = np.repeat(np.arange(repeats.size), repeats.ravel())
        again = np.concatenate(([False], picked[1:] == picked[:-1]))
        day_index, station_index = np.divmod(picked, count)
        kind = dirty.ravel()[picked]
        # A day that nobody can read belongs to the month of the row before it, so never on the 1st.
        unreadable = (kind == _dirty("unreadable date")) & (
            days[day_index].astype("datetime64[D]") != np.datetime64(month)
        )

        dates = np.datetime_as_string(days.astype("datetime64[D]"))
        # The 1st reads as the 32nd, and so on.
        date_texts = pa.array([*dates, *(f"{text[:8]}{31 + int(text[8:])}" for text in dates)], pa.string())
        columns: dict[str, pa.Array] = {
            "month": pa.repeat(pa.scalar(month), len(picked)),
            "day": pa.array(days[day_index].astype("datetime64[D]"), mask=unreadable, type=pa.date32()),
            "station": self._station_texts.take(
                pa.array(np.where(kind == _dirty("unknown station"), count, station_index))
            ),
            "date": date_texts.take(pa.array(day_index + unreadable * len(days))),
            "source": pa.repeat(pa.scalar(self.name), len(picked)),
            "file": pa.repeat(pa.scalar(self.generator), len(picked)),
            "row_number": pa.array((days[day_index] * MOST_STATIONS + station_index) * 2 + again + 1),
            "fetched_at": pa.repeat(pa.scalar(self._fetched_at, RAW_SCHEMA.field("fetched_at").type), len(picked)),
        }
        for observed in OBSERVATION_COLUMNS:
            code = codes[observed.name].ravel()[picked]
            columns[observed.name] = _TEXTS[observed.kind].take(pa.array(code))
        return pa.Table.from_arrays(
            [
                columns[field.name] if field.name in columns else pa.nulls(len(picked), field.type)
                for field in RAW_SCHEMA
            ],
            schema=RAW_SCHEMA,
        )

    def close(self) -> None:
        """Nothing to release."""

    def _days(self, month: str) -> NDArray[np.int64]:
        """The covered days of the month, since 1970-01-01."""
        first, last = self._coverage.first_day, self._coverage.last_day
        try:
            begin = date.fromisoformat(f"{month}-01")
        except ValueError:
            begin = date.min
        end = begin.replace(day=calendar.monthrange(begin.year, begin.month)[1])
        begin, end = max(begin, first), min(end, last)
        if end < begin:
            raise SourceError(
                f"{self.generator} covers the months {first:%Y-%m} to {last:%Y-%m}, not {month!r}; ask for one of those"
            )
        return np.arange(begin.toordinal(), end.toordinal() + 1) - date(1970, 1, 1).toordinal()


# Text

LOWEST_TENTH, HIGHEST_TENTH = -1000, 12_000
_TEXTS: dict[str, pa.Array] = {
    "number": pa.array(["NA", *(f"{tenth / 10:g}" for tenth in range(LOWEST_TENTH, HIGHEST_TENTH))]),
    "compass": pa.array(["NA", *COMPASS_POINTS]),
    "flag": pa.array(["NA", "No", "Yes"]),
}
"""Every text a cell can have. A cell is computed as its place in this table, 0 being NA."""


def _tenths(values: Floats, step: int = 1) -> NDArray[np.int32]:
    """Codes of numbers, rounded to `step` tenths."""
    tenths = np.rint(values * (10 / step)).astype(np.int32) * np.int32(step)
    return tenths - np.int32(LOWEST_TENTH - 1)


def _compass(u: Floats, v: Floats) -> NDArray[np.int32]:
    """Codes of the direction the wind (u to the east, v to the north) comes from."""
    sixteenths = np.rint(np.arctan2(-u, -v) * (8 / np.pi)).astype(np.int32) % np.int32(16)
    return sixteenths + np.int32(1)


def _dirty(kind: str) -> int:
    return DIRTY.index(kind) + 1


# Random numbers

STATIONS_STREAM, WAVES_STREAM, ABSENT_STREAM, NORMAL_STREAM, UNIFORM_STREAM = range(5)


def _random(seed: int, stream: int, day: int = 0) -> np.random.Generator:
    """A generator of its own for every day: counter-based, so no day needs the days before it."""
    key = np.array([seed, (day + (1 << 40)) * 8 + stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


# Stations


def _stations(seed: int, count: int) -> tuple[Station, ...]:
    """The catalogue's stations, then as many more as wanted, anywhere on the mainland."""
    random = _random(seed, STATIONS_STREAM)
    extra: list[Station] = []
    while len(extra) < count - len(STATIONS):
        draws = random.random((1024, 3))
        latitude = np.round(-38.5 + draws[:, 0] * 27.0, 2)
        longitude = np.round(113.5 + draws[:, 1] * 40.0, 2)
        elevation = np.round(5 + 900 * draws[:, 2] ** 3)
        for i in np.flatnonzero(_on_mainland(latitude, longitude)):
            place = float(latitude[i]), float(longitude[i])
            number = len(STATIONS) + len(extra) + 1
            extra.append(Station(f"SYN{number:05}", "SYN", *place, float(elevation[i]), _timezone(*place)))
    return (*STATIONS, *extra)[:count]


def _timezone(latitude: float, longitude: float) -> str:
    """The time zone of a place on the mainland, by straight borders."""
    if longitude < 129:
        return "Australia/Perth"
    if longitude < 138:
        return "Australia/Darwin" if latitude > -26 else "Australia/Adelaide"
    if latitude > -29:
        return "Australia/Brisbane"
    if longitude < 141:
        return "Australia/Adelaide"
    return "Australia/Melbourne" if latitude < -36 and longitude < 149.5 else "Australia/Sydney"


def _plane(latitude: Floats, longitude: Floats) -> tuple[Floats, Floats]:
    """Kilometres east and north of ORIGIN."""
    km = EARTH_RADIUS_KM * np.pi / 180
    return (longitude - ORIGIN[1]) * km * np.cos(np.radians(ORIGIN[0])), (latitude - ORIGIN[0]) * km


def _on_mainland(latitude: Floats, longitude: Floats) -> NDArray[np.bool_]:
    """Whether places lie inside the coast: a line to the east crosses it an odd number of times."""
    inside = np.zeros(len(latitude), dtype=np.bool_)
    for (lat_a, lon_a), (lat_b, lon_b) in zip(COAST, (*COAST[1:], COAST[0]), strict=True):
        between = (lat_a > latitude) != (lat_b > latitude)
        crossing = lon_a + (latitude - lat_a) / (lat_b - lat_a) * (lon_b - lon_a)
        inside ^= between & (longitude < crossing)
    return inside


def _inland(latitude: Floats, longitude: Floats) -> tuple[Floats, Floats, Floats]:
    """Kilometres from the coast (0 outside the mainland), and the unit vector pointing away from it."""
    x, y = _plane(latitude, longitude)
    coast = np.array(COAST)
    coast_x, coast_y = _plane(coast[:, 0], coast[:, 1])
    distance, east, north = np.full(len(x), np.inf), np.zeros(len(x)), np.zeros(len(x))
    for i in range(len(coast)):
        ax, ay = coast_x[i - 1], coast_y[i - 1]
        bx, by = coast_x[i] - ax, coast_y[i] - ay
        along = np.clip(((x - ax) * bx + (y - ay) * by) / (bx * bx + by * by), 0, 1)
        dx, dy = x - ax - along * bx, y - ay - along * by
        here = np.hypot(dx, dy)
        nearer = here < distance
        distance = np.where(nearer, here, distance)
        east, north = np.where(nearer, dx, east), np.where(nearer, dy, north)
    length = np.maximum(distance, 1e-9)
    inside = _on_mainland(latitude, longitude)
    return np.where(inside, distance, 0.0), east / length, north / length


# Climate


class _Waves:
    """A field of unit variance: travelling waves whose amplitudes wax and wane.

    A wave at a place and time is cos(a + b) with a from the time and b from the place, so a field over days
    and stations costs four multiplications per wave and no trigonometry, in an order that never changes.
    """

    def __init__(
        self,
        random: np.random.Generator,
        x: Floats,
        y: Floats,
        hours_east: Floats,
        *,
        count: int,
        wavelength_km: tuple[float, float],
        speed_km_per_day: tuple[float, float],
        spread_deg: float,
    ) -> None:
        wavelength = random.uniform(*wavelength_km, count)
        direction = np.radians(random.uniform(-spread_deg, spread_deg, count))
        number = 2 * np.pi / wavelength
        self.kx, self.ky = number * np.cos(direction), number * np.sin(direction)
        self.omega = number * random.uniform(*speed_km_per_day, count)
        self.phase = random.uniform(0, 2 * np.pi, count)
        self.slow_omega = 2 * np.pi / random.uniform(9, 50, count)
        self.slow_phase = random.uniform(0, 2 * np.pi, count)
        self.amplitude = random.uniform(0.6, 1.4, count)
        self.amplitude *= np.sqrt(2 / (1.32 * (self.amplitude**2).sum()))
        # Local clocks: the same hour comes earlier in the east.
        place = -self.kx[:, None] * x - self.ky[:, None] * y - self.omega[:, None] * hours_east / 24
        self.place_cos, self.place_sin = np.cos(place), np.sin(place)

    def at(self, times: Floats) -> tuple[Floats, Floats]:
        """The time's share of every wave: (times x waves) factors of cos and sin of the place."""
        slow = 1 + 0.8 * np.cos(times[:, None] * self.slow_omega + self.slow_phase)
        angle = times[:, None] * self.omega + self.phase
        return self.amplitude * slow * np.cos(angle), -self.amplitude * slow * np.sin(angle)

    def field(self, times: Floats) -> Floats:
        """The field's value, (times x stations)."""
        return _superposed(*self.at(times), self.place_cos, self.place_sin)

    def slope(self, times: Floats) -> tuple[Floats, Floats]:
        """The field's increase per kilometre to the east and to the north."""
        cos, sin = self.at(times)
        # b falls by k per kilometre: d/dx (A cos b + B sin b) = k (A sin b - B cos b).
        east = _superposed(-self.kx * sin, self.kx * cos, self.place_cos, self.place_sin)
        north = _superposed(-self.ky * sin, self.ky * cos, self.place_cos, self.place_sin)
        return east, north


def _superposed(cos: Floats, sin: Floats, place_cos: Floats, place_sin: Floats) -> Floats:
    """The sum over waves, one after the other: the same bits for one day as for a thousand."""
    total = np.zeros((cos.shape[0], place_cos.shape[1]))
    term = np.empty_like(total)
    for wave in range(cos.shape[1]):
        total += np.multiply(cos[:, wave, None], place_cos[wave], out=term)
        total += np.multiply(sin[:, wave, None], place_sin[wave], out=term)
    return total


class _Mesoscale:
    """A smooth random field of unit variance, independent from day to day."""

    COUNT = 14

    def __init__(self, random: np.random.Generator, x: Floats, y: Floats) -> None:
        number = 2 * np.pi / random.uniform(350, 1600, self.COUNT)
        direction = random.uniform(0, 2 * np.pi, self.COUNT)
        place = np.outer(number * np.cos(direction), x) + np.outer(number * np.sin(direction), y)
        self.place_cos, self.place_sin = np.cos(place), np.sin(place)

    def draw(self, random: np.random.Generator) -> Floats:
        """The numbers that make the field of one day."""
        return np.asarray(random.standard_normal(2 * self.COUNT) / np.sqrt(self.COUNT))

    def field(self, draws: Floats) -> Floats:
        """(days x stations), from the draws of the days."""
        return _superposed(draws[:, : self.COUNT], draws[:, self.COUNT :], self.place_cos, self.place_sin)


class _Climate:
    """What the stations observe on a day. Arrays over days and stations, days first."""

    NORMALS = 18

    def __init__(self, seed: int, stations: tuple[Station, ...], shift: ClimateShift | None) -> None:
        self.seed = seed
        self.shift = shift
        latitude = np.array([s.latitude_deg for s in stations])
        longitude = np.array([s.longitude_deg for s in stations])
        elevation_km = np.array([s.elevation_m for s in stations]) / 1000
        x, y = _plane(latitude, longitude)
        hours_east = (longitude - ORIGIN[1]) / 15
        random = _random(seed, WAVES_STREAM)
        self.pressure = _Waves(
            random,
            x,
            y,
            hours_east,
            count=14,
            wavelength_km=(3000, 8000),
            speed_km_per_day=(500, 900),
            spread_deg=28,
        )
        self.moisture = _Waves(
            random,
            x,
            y,
            hours_east,
            count=12,
            wavelength_km=(1600, 4500),
            speed_km_per_day=(180, 520),
            spread_deg=45,
        )
        self.warmth = _Waves(
            random,
            x,
            y,
            hours_east,
            count=8,
            wavelength_km=(2500, 6000),
            speed_km_per_day=(350, 800),
            spread_deg=40,
        )
        self.mesoscale = _Mesoscale(random, x, y)

        coast_km, self.onshore_x, self.onshore_y = _inland(latitude, longitude)
        inland = 1 - np.exp(-coast_km / 250)
        tropical = 1 / (1 + np.exp(-(latitude + 20.5) / 2.5))
        south = 1 - tropical
        poleward = np.clip((-latitude - 12) / 31, 0, 1)
        west = 1 / (1 + np.exp((longitude - 121) / 1.5))
        self.inland, self.tropical, self.south, self.latitude = inland, tropical, south, latitude
        self.sea_breeze = np.exp(-coast_km / 60)
        # Chance of a day with more than 1 mm: a yearly mean, and what the depth of winter adds to it.
        self.rain_mean = np.clip(
            (tropical * 0.19 + south * (0.21 + 0.09 * poleward)) * (1 - 0.62 * inland) + 0.06 * elevation_km,
            0.03,
            0.6,
        )
        self.rain_winter = (-0.20 * tropical + south * (0.03 + 0.07 * poleward + 0.09 * west)) * (1 - 0.35 * inland)
        self.rain_scale = 6.0 + 7.0 * tropical
        self.pressure_mean = 1017.8 - 6.0 * tropical - 1.5 * poleward
        self.pressure_winter = 2.6 + 1.6 * inland
        self.pressure_sd = 1.6 + 7.4 * poleward**0.8
        coriolis = 2 * 7.2921e-5 * np.sin(np.radians(np.minimum(latitude, -18.0)))
        # Of the geostrophic wind (m/s for a slope in hPa per km), what is left over rough ground.
        self.wind_factor = 0.60 * 0.1 / (1.2 * coriolis)
        self.wind_mean = np.where(latitude > -28, -2.4, 1.2) * np.clip(np.abs(latitude + 28) / 6, 0, 1)
        self.max_mean = 31.8 - 0.42 * (-latitude - 12) + 2.6 * inland - 6.5 * elevation_km
        self.max_summer = 1.2 + 5.0 * np.sqrt(poleward) + 3.0 * inland * south
        self.range_mean = 8.3 + 5.6 * inland
        self.warmth_sd = 1.3 + 2.7 * south * (0.7 + 0.5 * inland)
        self.humidity_mean = 59 - 24 * inland * south - 8 * inland * tropical
        weights = np.stack([0.22 + 0.33 * south, 0.72 + 0.10 * tropical, np.full(len(stations), 0.50)])
        self.lift_weight, self.moisture_weight, self.mesoscale_weight = weights / np.sqrt((weights**2).sum(axis=0))
        self.absent = self._absences(len(stations))

    def _absences(self, count: int) -> dict[str, NDArray[np.bool_]]:
        """Which stations lack an instrument: one draw for each, so that 9 am and 3 pm go together."""
        instruments = ("evaporation", "sunshine", "cloud", "pressure", "wind_gust")
        draws = _random(self.seed, ABSENT_STREAM).random((count, len(instruments)))
        return {
            name: draws[:, next(i for i, text in enumerate(instruments) if name.startswith(text))] < share
            for name, share in ABSENT_SHARE.items()
        }

    def _wetness(self, hour_days: Floats, mesoscale: Floats) -> Floats:
        """How wet the air is, of unit variance: troughs, moist air, mesoscale systems."""
        wetness: Floats = self.lift_weight * -0.8 * self.pressure.field(hour_days)
        wetness += self.moisture_weight * self.moisture.field(hour_days)
        wetness += self.mesoscale_weight * mesoscale
        return wetness

    def observe(self, days: NDArray[np.int64]) -> dict[str, NDArray[np.int32]]:
        """Codes of all quantities, and `reported` and `dirty`, (days x stations)."""
        shape = (len(days), len(self.latitude))
        noise = np.empty((self.NORMALS, *shape))
        uniform = np.empty((len(OBSERVATION_COLUMNS) + 2, *shape), dtype=np.uint16)
        field = np.empty((len(days) + 1, 2 * self.mesoscale.COUNT))
        for i, day in enumerate(days.tolist()):
            # Station after station, so that more stations change nothing for the first ones.
            random = _random(self.seed, NORMAL_STREAM, day)
            field[i] = self.mesoscale.draw(random)
            noise[:, i] = random.standard_normal((shape[1], self.NORMALS), dtype=np.float32).T
            random = _random(self.seed, UNIFORM_STREAM, day)
            uniform[:, i] = random.integers(0, 1 << 16, (shape[1], len(uniform)), dtype=np.uint16).T
        field[-1] = self.mesoscale.draw(_random(self.seed, NORMAL_STREAM, int(days[-1]) + 1))
        spare = iter(noise)

        calendar_days = days.astype("datetime64[D]")
        day_of_year = (calendar_days - calendar_days.astype("datetime64[Y]")).astype(np.int64)[:, None]
        winter = np.cos((day_of_year - 199) * (2 * np.pi / 365.25))
        summer = np.cos((day_of_year - 22) * (2 * np.pi / 365.25))
        night, morning, afternoon = (days.astype(np.float64) + hour / 24 for hour in (-3, 9, 15))
        meso = self.mesoscale.field(field)
        meso_today, meso_tomorrow = meso[:-1], meso[1:]

        # Rain of the 24 hours to 9 am falls around the evening before; tomorrow's gathers this afternoon.
        wet_night = self._wetness(night, meso_today)
        wet_9am = self._wetness(morning, 0.75 * meso_today + 0.45 * meso_tomorrow)
        wet_3pm = self._wetness(afternoon, 0.45 * meso_today + 0.75 * meso_tomorrow)
        chance = np.clip(self.rain_mean + self.rain_winter * winter, 0.012, 0.75)
        surprise = ndtr(-(0.90 * wet_night + 0.42 * next(spare))) / chance
        heavy = np.maximum(-np.log(np.clip(surprise, 1e-7, 1.0)), 0) ** 1.5
        rain = np.where(surprise < 1, 1.1 + self.rain_scale * (1 - 0.35 * self.tropical * winter) * heavy, 0.0)
        drizzle = (surprise >= 1) & (surprise < 1.62)
        rain = np.where(drizzle, 1.62 - surprise, rain) * np.where(drizzle, 1.5, 1)
        shifted = np.zeros(len(days), dtype=np.bool_)
        if self.shift is not None:
            shifted = days >= self.shift.from_day.toordinal() - date(1970, 1, 1).toordinal()
            rain = np.where(shifted[:, None], rain * self.shift.rain_factor, rain)
        rain = np.rint(np.minimum(rain, 480.0) * 5) / 5

        # Warm air comes from the north, ahead of a trough: where pressure rises to the east.
        slope_x9, slope_y9 = (self.pressure_sd * s for s in self.pressure.slope(morning))
        slope_x3, slope_y3 = (self.pressure_sd * s for s in self.pressure.slope(afternoon))
        northerly = np.clip(slope_x3 * (self.south * 150), -2.2, 2.2)
        warmth_3pm = 0.75 * self.warmth.field(afternoon) + 0.62 * northerly
        warmth_9am = 0.75 * self.warmth.field(morning) + 0.62 * np.clip(slope_x9 * (self.south * 150), -2.2, 2.2)
        season = self.max_mean + self.max_summer * summer
        maximum = season + self.warmth_sd * (warmth_3pm - 0.42 * wet_3pm * self.south) + 1.15 * next(spare)
        minimum = (
            season
            - self.range_mean
            + self.warmth_sd * 0.75 * warmth_9am
            + 0.11 * self.range_mean * wet_night
            + 1.2 * next(spare)
        )
        if self.shift is not None:
            maximum += np.where(shifted[:, None], self.shift.temp_c, 0.0)
            minimum += np.where(shifted[:, None], self.shift.temp_c, 0.0)
        # What is measured between the two is inside then too. Shifts of the settings cut off hardly a value.
        minimum = np.clip(minimum, MIN_TEMP.low, MIN_TEMP.high)
        maximum = np.clip(np.maximum(maximum, minimum + 0.8), MAX_TEMP.low, MAX_TEMP.high)
        spread = maximum - minimum
        temp_9am = minimum + spread * np.clip(0.42 + 0.05 * summer + 0.09 * next(spare), 0.02, 0.93)
        temp_3pm = maximum - spread * np.clip(0.09 + 0.05 * wet_3pm + 0.07 * next(spare), 0.0, 0.6)

        humidity_base = self.humidity_mean + 9.0 * self.tropical * -winter + 5.0 * self.south * winter
        humidity_3pm = humidity_base - 3.0 + 14.0 * wet_3pm - 3.6 * warmth_3pm * self.south + 7.0 * next(spare)
        humidity_9am = humidity_base + 15.0 + 12.0 * wet_9am - 1.6 * warmth_9am * self.south + 7.5 * next(spare)
        cloudiness = (chance - 0.22) * 2.2
        cloud_9am = ndtr(1.35 * wet_9am + 0.15 + cloudiness + 0.85 * next(spare))
        cloud_3pm = ndtr(1.35 * wet_3pm + 0.15 + cloudiness + 0.80 * next(spare))
        daylight = 12 - 0.062 * self.latitude * summer
        cover = np.clip(0.4 * cloud_9am + 0.6 * cloud_3pm - 0.08 + 0.08 * next(spare), 0, 1)
        sunshine = np.clip(daylight * (0.95 - 0.93 * cover**1.6), 0, None)
        dryness = np.clip(1.15 - humidity_3pm / 100, 0.1, 1)
        evaporation = np.maximum(0.0, 0.045 * np.maximum(maximum, 0.0) ** 1.55 * dryness + 0.3 + 1.5 * next(spare))

        pressure = self.pressure_mean + self.pressure_winter * winter
        pressure_9am = pressure + 1.2 + self.pressure_sd * self.pressure.field(morning) + 0.35 * next(spare)
        pressure_3pm = pressure - 1.2 + self.pressure_sd * self.pressure.field(afternoon) + 0.35 * next(spare)
        u_9am, v_9am, speed_9am = self._wind(slope_x9, slope_y9, 0.85, 0.0, summer, next(spare), next(spare))
        u_3pm, v_3pm, speed_3pm = self._wind(slope_x3, slope_y3, 1.0, 3.0, summer, next(spare), next(spare))
        gust = 8 + 0.58 * speed_9am + 1.05 * speed_3pm + 3.0 * np.maximum(wet_3pm, 0) + np.abs(4.0 * next(spare))
        gust = np.maximum(np.minimum(gust, 200), np.maximum(speed_9am, speed_3pm))
        calm_9am, calm_3pm = speed_9am < 2.0, speed_3pm < 2.0

        codes = {
            "min_temp_c": _tenths(minimum),
            "max_temp_c": _tenths(maximum),
            "rainfall_mm": _tenths(rain),
            "evaporation_mm": _tenths(evaporation, 2),
            "sunshine_hours": _tenths(sunshine),
            "wind_gust_direction_deg": _compass(u_9am + 1.8 * u_3pm, v_9am + 1.8 * v_3pm),
            "wind_gust_speed_kmh": _tenths(gust, 10),
            "wind_direction_9am_deg": np.where(calm_9am, 0, _compass(u_9am, v_9am)),
            "wind_direction_3pm_deg": np.where(calm_3pm, 0, _compass(u_3pm, v_3pm)),
            "wind_speed_9am_kmh": _tenths(np.where(calm_9am, 0, speed_9am), 10),
            "wind_speed_3pm_kmh": _tenths(np.where(calm_3pm, 0, speed_3pm), 10),
            "humidity_9am_pct": _tenths(np.clip(humidity_9am, 4, 100), 10),
            "humidity_3pm_pct": _tenths(np.clip(humidity_3pm, 2, 100), 10),
            "pressure_9am_hpa": _tenths(pressure_9am),
            "pressure_3pm_hpa": _tenths(pressure_3pm),
            "cloud_9am_oktas": _tenths(cloud_9am * 8.6 - 0.3, 10),
            "cloud_3pm_oktas": _tenths(cloud_3pm * 8.6 - 0.3, 10),
            "temp_9am_c": _tenths(temp_9am),
            "temp_3pm_c": _tenths(temp_3pm),
            "rain_today": np.where(rain > 1.0, 2, 1).astype(np.int32),
        }
        for i, observed in enumerate(OBSERVATION_COLUMNS[:-1]):
            missing = uniform[i] < np.uint16(MISSING_SHARE[observed.name] * (1 << 16))
            if observed.name in self.absent:
                missing |= self.absent[observed.name]
            codes[observed.name][missing] = 0
        codes["rain_today"][codes["rainfall_mm"] == 0] = 0

        dirt = (uniform[-2].astype(np.float64) * (1 << 16) + uniform[-3]) / (1 << 32)
        dirty = np.where(dirt < DIRTY_SHARE, dirt * (len(DIRTY) / DIRTY_SHARE) + 1, 0).astype(np.int32)
        low, high = codes["min_temp_c"], codes["max_temp_c"]
        high[dirty == _dirty("out of range")] = OUT_OF_RANGE - (LOWEST_TENTH - 1)
        swapped = dirty == _dirty("minimum above maximum")
        low[swapped], high[swapped] = high[swapped], low[swapped]
        codes["dirty"] = dirty
        codes["reported"] = (uniform[-1] >= np.uint16(UNREPORTED_SHARE * (1 << 16))).astype(np.int32)
        return codes

    def _wind(
        self,
        slope_x: Floats,
        slope_y: Floats,
        mixing: float,
        breeze: float,
        summer: Floats,
        gust_x: Floats,
        gust_y: Floats,
    ) -> tuple[Floats, Floats, Floats]:
        """Wind to the east and to the north in m/s, and its speed in km/h.

        Around a low of the southern hemisphere the air turns clockwise; the ground bends it 25 degrees
        towards the low.
        """
        factor = self.wind_factor * mixing
        u, v = -factor * slope_y + self.wind_mean, factor * slope_x
        cos, sin = 0.906, 0.423
        u, v = u * cos + v * sin, v * cos - u * sin
        inflow = breeze * (0.65 + 0.35 * summer) * self.sea_breeze
        u = u + inflow * self.onshore_x + 1.5 * gust_x
        v = v + inflow * self.onshore_y + 1.5 * gust_y
        return u, v, np.hypot(u, v) * 3.6
