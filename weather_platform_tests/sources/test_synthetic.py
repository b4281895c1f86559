"""The invented climate: the same rows for ever, and weather that behaves like weather."""

from datetime import date, datetime
from functools import cache
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS, RAW_SCHEMA, column
from weather_platform.domain.stations import STATIONS, distance_km
from weather_platform.errors import SourceError
from weather_platform.settings import Settings
from weather_platform.sources import Source
from weather_platform.sources.synthetic import DIRTY_SHARE, UNKNOWN_STATION, ClimateShift, SyntheticSource

FETCHED_AT = datetime(2016, 1, 10, 8, 0, tzinfo=ZoneInfo("Australia/Sydney"))
YEARS = range(2012, 2016)
INDEX = {station.id: i for i, station in enumerate(STATIONS)}

Grid = NDArray[np.float64]


def synthetic(
    seed: int = 1,
    station_count: int = 49,
    first_day: date = date(2012, 1, 1),
    last_day: date = date(2015, 12, 31),
    shift: ClimateShift | None = None,
) -> SyntheticSource:
    return SyntheticSource(
        seed=seed,
        station_count=station_count,
        first_day=first_day,
        last_day=last_day,
        shift=shift,
        first_month="2007-11",
        fetched_at=FETCHED_AT,
    )


@cache
def four_years() -> pa.Table:
    source: Source = synthetic()
    return pa.concat_tables([source.rows(f"{year}-{month:02}") for year in YEARS for month in range(1, 13)])


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    texts = pc.if_else(pc.equal(table[name], "NA"), "nan", table[name])
    return np.asarray(texts.cast(pa.float64()).to_numpy(), dtype=np.float64).copy()


@cache
def grid(name: str) -> Grid:
    """(days x stations) of one quantity over the four years, NaN where there is none."""
    rows = four_years()
    rows = rows.filter(pc.and_(pc.is_valid(rows["day"]), pc.not_equal(rows["station"], UNKNOWN_STATION)))
    values = numbers(rows, name)
    low, high = column(name).low, column(name).high
    assert low is not None
    assert high is not None
    values[(values < low) | (values > high)] = np.nan
    days = rows["day"].cast(pa.int32()).to_numpy()
    stations = np.array([INDEX[station] for station in rows["station"].to_pylist()])
    out = np.full((days.max() - days.min() + 1, len(STATIONS)), np.nan)
    out[days - days.min(), stations] = values
    return out


def calendar_months() -> NDArray[np.int64]:
    days = np.arange(np.datetime64("2012-01-01"), np.datetime64("2016-01-01"))
    return days.astype("datetime64[M]").astype(np.int64) % 12 + 1


def correlation(a: Grid, b: Grid) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    return float(np.corrcoef(a[both], b[both])[0, 1])


def of(*names: str) -> list[int]:
    return [INDEX[name] for name in names]


# The same rows for ever


def test_rows_have_the_raw_shape_and_say_that_they_are_invented() -> None:
    rows = four_years()
    assert rows.schema.equals(RAW_SCHEMA)
    assert set(rows["source"].to_pylist()) == {"synthetic"}
    assert set(rows["file"].to_pylist()) == {"synthetic:1"}
    assert pc.count_distinct(rows["row_number"]).as_py() == len(rows)
    assert rows["row_number"].to_pylist() == sorted(rows["row_number"].to_pylist())
    assert rows["rain_tomorrow"].null_count == rows["risk_mm"].null_count == len(rows)
    assert synthetic().synthetic


def test_a_month_is_the_same_whatever_was_asked_for_before() -> None:
    straight, backwards = synthetic(), synthetic()
    months = [f"2014-{month:02}" for month in range(1, 7)]
    forward = {month: straight.rows(month) for month in months}
    for month in reversed(months):
        assert backwards.rows(month).equals(forward[month])
        assert straight.rows(month).equals(forward[month])


def test_a_shorter_coverage_gives_the_same_rows_of_its_days() -> None:
    whole = synthetic().rows("2014-03")
    part = synthetic(first_day=date(2014, 3, 9), last_day=date(2014, 3, 20)).rows("2014-03")
    of_part = pc.and_(
        pc.greater_equal(whole["row_number"], part["row_number"][0]),
        pc.less_equal(whole["row_number"], part["row_number"][-1]),
    )
    assert part.equals(whole.filter(of_part))
    days = pc.min_max(part["day"]).as_py()
    assert days == {"min": date(2014, 3, 9), "max": date(2014, 3, 20)}


def test_an_unreadable_date_reads_the_same_where_the_coverage_begins_inside_a_month() -> None:
    many = 4000
    whole = synthetic(station_count=many).rows("2014-03")
    part = synthetic(station_count=many, first_day=date(2014, 3, 9), last_day=date(2014, 3, 20)).rows("2014-03")
    assert part["day"].null_count > 0
    assert part.equals(whole.filter(pc.is_in(whole["row_number"], part["row_number"].combine_chunks())))


def test_more_stations_change_nothing_for_the_first_ones() -> None:
    few, many = synthetic(station_count=49), synthetic(station_count=400)
    assert many.stations()[:49] == few.stations() == STATIONS
    known = pa.array([station.id for station in STATIONS])
    rows = [
        source.rows("2014-03").filter(pc.field("station").isin(known)).drop_columns("row_number")
        for source in (few, many)
    ]
    assert rows[0].equals(rows[1])


def test_another_seed_is_another_climate() -> None:
    one, other = (synthetic(seed=seed).rows("2014-03") for seed in (1, 2))
    assert not one["pressure_9am_hpa"].equals(other["pressure_9am_hpa"])
    assert set(other["file"].to_pylist()) == {"synthetic:2"}


@pytest.mark.parametrize("month", ["2011-12", "2016-01", "2014-1", "2014-13", "March"])
def test_a_month_outside_the_coverage_is_an_error(month: str) -> None:
    with pytest.raises(SourceError, match=f"2012-01 to 2015-12, not '{month}'"):
        synthetic().rows(month)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"station_count": 0}, "0 synthetic stations"),
        ({"last_day": date(2011, 1, 1)}, "before they begin"),
        ({"first_day": date(2007, 10, 31)}, "before the first month 2007-11"),
        ({"last_day": date(2016, 1, 11)}, "after today 2016-01-10"),
        ({"shift": ClimateShift(date(2014, 1, 1), 0.0, -1.0)}, "rain factor -1.0"),
    ],
)
def test_an_impossible_climate_is_refused(changed: dict[str, int], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        synthetic(**changed)  # type: ignore[arg-type]


def test_invented_stations_lie_on_the_mainland_with_ids_of_their_own() -> None:
    stations = synthetic(station_count=1500).stations()
    extra = stations[49:]
    assert [s.id for s in extra[:2]] == ["SYN00050", "SYN00051"]
    assert len({s.id for s in stations}) == 1500
    assert {s.state for s in extra} == {"SYN"}
    for station in extra:
        assert -39.5 < station.latitude_deg < -10.5
        assert 113 < station.longitude_deg < 154
        assert station.elevation_m > 0
        ZoneInfo(station.timezone)
    # The gulf, the bight and the seas around are not land.
    for latitude, longitude in ((-14.5, 138.5), (-35.0, 131.0), (-36.0, 116.0), (-20.0, 150.0)):
        distances = distance_km(
            np.array([s.latitude_deg for s in extra]), np.array([s.longitude_deg for s in extra]),
            np.array([latitude]), np.array([longitude]),
        )  # fmt: skip
        assert distances.min() > 40


# Weather


def test_summer_is_warm_in_the_south_and_wet_in_the_north() -> None:
    month = calendar_months()
    january, july = month == 1, month == 7
    warm, rain = grid("max_temp_c"), grid("rainfall_mm") > 1
    south, north = of("Melbourne", "Adelaide", "Hobart", "Perth"), of("Darwin", "Katherine")
    assert np.nanmean(warm[january][:, south]) > np.nanmean(warm[july][:, south]) + 7
    assert rain[january][:, north].mean() > rain[july][:, north].mean() + 0.15
    assert rain[july][:, of("Perth")].mean() > rain[january][:, of("Perth")].mean()
    assert np.nanmean(warm[:, north]) > np.nanmean(warm[:, south]) + 7


def test_what_the_west_has_today_reaches_the_east_tomorrow() -> None:
    pressure = grid("pressure_3pm_hpa")
    pairs = (("Adelaide", "Melbourne"), ("MountGambier", "Sale"), ("Nhil", "Sydney"), ("Woomera", "Cobar"))
    reporting = (~np.isnan(pressure)).sum(axis=0) > 0
    gains = []
    for west, east in ((INDEX[west], INDEX[east]) for west, east in pairs):
        if reporting[west] and reporting[east]:
            eastward = correlation(pressure[:-1, west], pressure[1:, east])
            gains.append(eastward - correlation(pressure[:-1, east], pressure[1:, west]))
    assert len(gains) >= 2
    assert min(gains) > 0.2


def test_rain_follows_rain_and_low_pressure() -> None:
    rain = grid("rainfall_mm")
    today, tomorrow = rain[:-1] > 1, rain[1:] > 1
    known = ~np.isnan(rain[:-1]) & ~np.isnan(rain[1:])
    assert tomorrow[today & known].mean() > tomorrow[~today & known].mean() + 0.1
    south = np.array([station.latitude_deg < -30 for station in STATIONS])
    pressure = grid("pressure_3pm_hpa")[:-1][:, south]
    assert np.nanmean(pressure[tomorrow[:, south]]) < np.nanmean(pressure[~tomorrow[:, south]]) - 0.5


def test_rain_is_as_frequent_and_as_skewed_as_the_real_one() -> None:
    rain = grid("rainfall_mm")
    rain = rain[~np.isnan(rain)]
    wet = rain[rain > 1]
    assert 0.18 < (rain > 1).mean() < 0.27
    assert 0.55 < (rain == 0).mean() < 0.72
    assert wet.mean() > 1.5 * np.median(wet)
    assert 60 < wet.max() <= 480


def test_wind_blows_around_lows_and_cloud_hides_the_sun() -> None:
    points = {name: i * 22.5 for i, name in enumerate(COMPASS_POINTS)}
    rows = four_years().filter(pc.equal(four_years()["station"], "Melbourne"))
    angle = np.radians([points.get(name, np.nan) for name in rows["wind_direction_3pm_deg"].to_pylist()])
    # The wind over Melbourne comes from the north when a low lies in the west, that is: when pressure falls.
    fall = np.append(-np.diff(numbers(rows, "pressure_3pm_hpa")), np.nan)
    assert correlation(np.cos(angle), fall) > 0.4
    assert correlation(grid("cloud_3pm_oktas"), grid("sunshine_hours")) < -0.6
    assert correlation(grid("humidity_3pm_pct"), grid("cloud_3pm_oktas")) > 0.3


def test_the_numbers_of_a_row_agree_with_each_other() -> None:
    minimum, maximum = grid("min_temp_c"), grid("max_temp_c")
    clean = ~(minimum > maximum)
    for name in ("temp_9am_c", "temp_3pm_c"):
        between = grid(name)[clean]
        assert not (between < minimum[clean]).any()
        assert not (between > maximum[clean]).any()
    rows = four_years()
    rain = numbers(rows, "rainfall_mm")
    said = np.array(rows["rain_today"].to_pylist())
    assert (said[rain > 1] == "Yes").all()
    assert (said[rain <= 1] == "No").all()
    assert (said[np.isnan(rain)] == "NA").all()
    calm = numbers(rows, "wind_speed_9am_kmh") == 0
    assert set(pc.filter(rows["wind_direction_9am_deg"], pa.array(calm)).to_pylist()) == {"NA"}


def test_a_gust_is_never_weaker_than_the_wind() -> None:
    rows = four_years()
    gust = numbers(rows, "wind_gust_speed_kmh")
    wind = np.fmax(numbers(rows, "wind_speed_9am_kmh"), numbers(rows, "wind_speed_3pm_kmh"))
    both = ~np.isnan(gust) & ~np.isnan(wind)
    assert (gust[both] >= wind[both]).all()
    assert (gust[both] > wind[both]).mean() > 0.99


SHIFTS = Settings.model_fields["synthetic_shift_temp_c"].metadata
BOUNDS = [next(getattr(bound, name) for bound in SHIFTS if hasattr(bound, name)) for name in ("ge", "le")]


@pytest.mark.parametrize("temp_c", [*BOUNDS, -40.0, 40.0])  # more than the settings take, as a program may ask for
@pytest.mark.parametrize("month", ["2014-01", "2014-07"])
def test_no_shift_leads_a_number_out_of_its_contract(temp_c: float, month: str) -> None:
    shift = ClimateShift(from_day=date(2014, 1, 1), temp_c=temp_c, rain_factor=10.0)
    rows = synthetic(station_count=1500, shift=shift).rows(month)
    for observed in OBSERVATION_COLUMNS:
        if observed.low is not None and observed.high is not None:
            texts = set(rows[observed.name].unique().to_pylist()) - {"NA", "99.9"}  # 99.9 is of dirty rows
            assert min(map(float, texts)) >= observed.low, observed.name
            assert observed.name == "min_temp_c" or max(map(float, texts)) <= observed.high, observed.name
    minimum, maximum = numbers(rows, "min_temp_c"), numbers(rows, "max_temp_c")
    swapped = minimum > maximum  # as in some dirty rows
    assert swapped.mean() < 2 * DIRTY_SHARE
    assert np.nanmax(minimum[~swapped]) <= (column("min_temp_c").high or 0)


def test_hardly_a_temperature_is_cut_off_by_the_largest_shift_that_the_settings_take() -> None:
    for temp_c, month, edge in ((BOUNDS[0], "2014-07", -30.0), (BOUNDS[1], "2014-01", 55.0)):
        shift = ClimateShift(from_day=date(2014, 1, 1), temp_c=temp_c, rain_factor=1.0)
        rows = synthetic(station_count=1500, shift=shift).rows(month)
        name = "min_temp_c" if temp_c < 0 else "max_temp_c"
        assert (numbers(rows, name) == edge).mean() < 0.001


def test_numbers_are_in_range_and_written_as_in_the_real_table() -> None:
    rows = four_years()
    for observed in OBSERVATION_COLUMNS:
        texts = set(rows[observed.name].unique().to_pylist()) - {"NA"}
        if observed.kind == "compass":
            assert texts == set(COMPASS_POINTS)
        elif observed.kind == "flag":
            assert texts == {"Yes", "No"}
        else:
            assert observed.low is not None
            assert observed.high is not None
            assert not any(text.endswith(".0") or "e" in text or text == "-0" for text in texts)
            impossible = {text for text in texts if not observed.low <= float(text) <= observed.high}
            assert impossible <= {"99.9"}  # the dirty rows


def test_as_much_is_missing_as_in_the_real_table() -> None:
    many = synthetic(station_count=800, last_day=date(2012, 1, 31)).rows("2012-01")
    real = {
        "evaporation_mm": 0.39, "sunshine_hours": 0.43, "cloud_9am_oktas": 0.36, "cloud_3pm_oktas": 0.38,
        "pressure_9am_hpa": 0.10, "pressure_3pm_hpa": 0.10, "wind_gust_speed_kmh": 0.07, "humidity_3pm_pct": 0.016,
        "max_temp_c": 0.002, "rainfall_mm": 0.01,
    }  # fmt: skip
    for name, share in real.items():
        assert pc.mean(pc.equal(many[name], "NA").cast(pa.int8())).as_py() == pytest.approx(share, abs=0.06), name
    by_station = many.group_by("station").aggregate([("sunshine_hours", "count_distinct")])
    silent = pc.mean(pc.equal(by_station["sunshine_hours_count_distinct"], 1).cast(pa.int8())).as_py()
    assert 0.25 < silent < 0.5


def test_a_few_rows_are_dirty_in_every_way() -> None:
    rows = synthetic(station_count=12_000, last_day=date(2012, 1, 31)).rows("2012-01")
    keys = rows.select(["station", "date"]).group_by(["station", "date"]).aggregate([([], "count_all")])
    low, high = numbers(rows, "min_temp_c"), numbers(rows, "max_temp_c")
    kinds = (
        pc.sum(pc.greater(keys.filter(pc.not_equal(keys["station"], UNKNOWN_STATION))["count_all"], 1)).as_py(),
        rows["day"].null_count,
        pc.sum(pc.equal(rows["station"], UNKNOWN_STATION)).as_py(),
        int((high == 99.9).sum()),
        int((low > high).sum()),
    )
    expected = len(rows) * DIRTY_SHARE / len(kinds)
    assert all(0.3 * expected < count < 2.5 * expected for count in kinds), kinds
    unreadable = rows.filter(pc.is_null(rows["day"]))
    assert all(int(text[8:]) > 31 for text in unreadable["date"].to_pylist())


def test_no_unreadable_date_stands_before_the_first_readable_one_of_its_month() -> None:
    source = synthetic(station_count=2000)
    for month in range(1, 7):
        rows = source.rows(f"2012-{month:02}")
        unread = rows["row_number"].filter(pc.is_null(rows["day"]))
        first = rows["row_number"].filter(pc.equal(rows["day"], date(2012, month, 2)))
        assert pc.min(unread).as_py() > pc.min(first).as_py() - 2 * 2000


def test_a_shift_changes_temperature_and_rain_from_its_day_on_and_nothing_before() -> None:
    shift = ClimateShift(from_day=date(2014, 3, 16), temp_c=2.0, rain_factor=1.5)
    before, after = synthetic(), synthetic(shift=shift)
    assert before.rows("2014-02").equals(after.rows("2014-02"))
    calm, changed = before.rows("2014-03"), after.rows("2014-03")
    assert calm["row_number"].equals(changed["row_number"])
    old = pc.less(pc.divide(calm["row_number"], 200_000), (shift.from_day - date(1970, 1, 1)).days)
    assert calm.filter(old).equals(changed.filter(old))
    new = pc.invert(old)
    for name, gain in (("max_temp_c", 2.0), ("min_temp_c", 2.0), ("temp_9am_c", 2.0), ("pressure_9am_hpa", 0.0)):
        difference = numbers(changed.filter(new), name) - numbers(calm.filter(new), name)
        assert np.nanmedian(difference) == pytest.approx(gain, abs=0.01)
    rain = [np.nansum(numbers(rows.filter(new), "rainfall_mm")) for rows in (calm, changed)]
    assert rain[1] == pytest.approx(1.5 * rain[0], rel=0.02)


def test_a_neutral_shift_changes_nothing() -> None:
    neutral = ClimateShift(from_day=date(2014, 1, 1), temp_c=0.0, rain_factor=1.0)
    assert synthetic(shift=neutral).rows("2014-03").equals(synthetic().rows("2014-03"))
