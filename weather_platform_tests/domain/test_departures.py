"""Stations against their neighbours: a shifted sensor is seen and named, weather is not, and too little is unknown."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from weather_platform.domain.departures import (
    LEAST_DAYS,
    RADIUS_KM,
    DepartureVerdict,
    Neighbourhood,
)
from weather_platform.domain.drift import WatchedColumn, WatchedRows
from weather_platform.domain.neighbours import StationGrid, stations_within
from weather_platform.domain.splits import day_number

NAMES = ("temp_3pm_c", "pressure_3pm_hpa", "rainfall_mm")
FIRST, LAST = date(2008, 1, 1), date(2013, 12, 31)
LEARNED_THROUGH = date(2012, 12, 30)
MONTH = "2013-07"
STATIONS = 9
GRID = StationGrid(
    tuple(f"s{at}" for at in range(STATIONS)),
    np.array([-33.0 + 0.5 * (at % 3) for at in range(STATIONS - 1)] + [-12.0]),
    np.array([148.0 + 0.5 * (at // 3) for at in range(STATIONS - 1)] + [116.0]),
    np.zeros(STATIONS),
)
"""Eight stations close together, and one that is alone."""


def weather(seed: int = 1) -> WatchedRows:
    """Six years of shared spells and season, each station with its own climate and a little of its own weather."""
    random = np.random.default_rng(seed)
    days = np.arange(day_number(FIRST), day_number(LAST) + 1, dtype=np.int32)
    shared = np.cumsum(random.normal(scale=0.5, size=(len(days), 1, 3)), axis=0)
    shared -= shared.mean(axis=0)
    season = 8 * np.sin(2 * np.pi * days / 365.25)[:, None, None]
    own = random.normal(size=(len(days), STATIONS, 3)) + np.arange(STATIONS)[:, None]
    values = shared + season + own
    values[:, :, 2] = np.maximum(values[:, :, 2], 0)
    return WatchedRows(
        stations=GRID.ids,
        station_index=np.tile(np.arange(STATIONS, dtype=np.int32), len(days)),
        day=np.repeat(days, STATIONS),
        columns=(*(WatchedColumn(name, "observation") for name in NAMES), WatchedColumn("t/label", "label")),
        values=np.column_stack((values.reshape(-1, 3), np.zeros(len(days) * STATIONS))).astype(np.float32),
    )


def month_of(rows: WatchedRows, month: str) -> np.ndarray:
    return np.asarray(rows.day.astype("datetime64[D]").astype("datetime64[M]") == np.datetime64(month))


def verdict(rows: WatchedRows, month: str = MONTH) -> DepartureVerdict:
    return Neighbourhood(rows, GRID, LEARNED_THROUGH).verdict(month)


def test_a_shifted_sensor_is_named_with_its_difference_and_nothing_else_is() -> None:
    rows = weather()
    rows.values[month_of(rows, MONTH) & (rows.station_index == 4), 1] += 3
    found = verdict(rows)
    assert (found.status, found.columns_of()) == ("departs", {"s4": ["pressure_3pm_hpa"]})
    assert found.departures[0].difference == pytest.approx(3, abs=0.6)
    assert found.reasons[0].startswith("s4 pressure_3pm_hpa by +")


def test_weather_that_all_stations_share_is_no_departure() -> None:
    rows = weather()
    rows.values[month_of(rows, MONTH), :2] += 15
    assert verdict(rows).status == "none"


def test_months_without_a_change_hardly_ever_depart() -> None:
    rows = weather(seed=2)
    neighbourhood = Neighbourhood(rows, GRID, LEARNED_THROUGH)
    verdicts = [neighbourhood.verdict(f"2013-{month:02}") for month in range(1, 13)]
    assert sum(len(each.departures) for each in verdicts) <= 1
    assert {each.compared for each in verdicts} == {8 * len(NAMES)}, "the station that is alone is not compared"


def test_a_neighbour_that_falls_silent_is_no_departure_of_the_others() -> None:
    """The warmest station is missing: the plain mean of the neighbours would fall."""
    rows = weather()
    rows.values[month_of(rows, MONTH) & (rows.station_index == 7)] = np.nan
    found = verdict(rows)
    assert (found.status, found.compared) == ("none", 7 * len(NAMES))


def test_a_month_with_too_few_days_is_unknown_and_never_none() -> None:
    rows = weather()
    late = rows.day >= day_number(date(2013, 7, 1)) + LEAST_DAYS - 1
    rows.values[month_of(rows, MONTH) & late] = np.nan
    found = verdict(rows)
    assert (found.status, found.compared) == ("unknown", 0)
    assert f"have {LEAST_DAYS} days" in found.reasons[0]


def test_a_month_without_rows_or_without_training_years_is_unknown() -> None:
    assert verdict(weather(), "2014-03").status == "unknown"
    assert Neighbourhood(weather(), GRID, date(2008, 12, 30)).verdict(MONTH).status == "unknown"
    rows = weather()
    none = np.zeros(0, dtype=np.int32)
    empty = replace(rows, station_index=none, day=none, values=rows.values[:0])
    assert verdict(empty).status == "unknown"


def test_a_departure_among_few_comparisons_is_still_one() -> None:
    rows = weather()
    here = month_of(rows, MONTH)
    rows.values[here & (rows.station_index == 4), 0] += 9
    rows.values[here, 1:] = np.nan
    assert verdict(rows).status == "departs"


def test_stations_that_the_catalogue_does_not_know_are_left_out() -> None:
    rows = weather()
    unknown = replace(rows, stations=(*rows.stations[:-2], "nowhere", rows.stations[-1]))
    assert verdict(unknown).compared == 7 * len(NAMES)


def test_the_verdict_is_the_same_from_its_plain_values() -> None:
    rows = weather()
    rows.values[month_of(rows, MONTH) & (rows.station_index == 4), 1] += 3
    found = verdict(rows)
    assert DepartureVerdict.from_dict(found.to_dict()) == found


def test_neighbours_are_the_nearest_within_the_radius_and_never_the_station_itself() -> None:
    around = stations_within(GRID, RADIUS_KM, 3).toarray()
    assert around.sum(axis=1).tolist() == [3.0] * 8 + [0.0]
    assert np.diagonal(around).sum() == 0
