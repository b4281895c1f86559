"""Hand-computed features, and the promises around them: same bits in every batch, nothing from the future."""

import gzip
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pacsv
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weather_platform.domain import features as features_module
from weather_platform.domain.features import (
    FEATURE_VERSION,
    FEATURES,
    HISTORY_DAYS,
    FeatureMatrix,
    History,
    build_features,
    feature_names,
    missing_share,
    own_values,
)
from weather_platform.domain.neighbours import FIELDS, MAX_NEIGHBOURS, StationGrid, neighbour_weights
from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS
from weather_platform.domain.stations import STATIONS, Station, bearing_deg, distance_km
from weather_platform.errors import InvariantError

Observations = dict[str, NDArray[Any]]
COLUMN = {name: j for j, name in enumerate(feature_names())}
TODAY = (date(2015, 6, 15) - date(1970, 1, 1)).days
REAL_TABLE = Path(__file__).parents[3] / "shared" / "data" / "weatherAUS_2007_2015.csv.gz"


def grid_of(*places: tuple[float, float]) -> StationGrid:
    """A catalogue of stations S0, S1, ... at (latitude, longitude), each ten metres above the one before."""
    return StationGrid.from_stations(
        [Station(f"S{i}", "NSW", lat, lon, 10.0 * i, "Australia/Sydney") for i, (lat, lon) in enumerate(places)]
    )


ONE = grid_of((-33.0, 151.0))


def observed(rows: Sequence[Mapping[str, float]]) -> Observations:
    """Observation arrays of rows that name only what was observed; station 0 and TODAY unless said."""
    table: Observations = {
        "station_index": np.array([r.get("station_index", 0) for r in rows], dtype=np.int32),
        "day": np.array([r.get("day", TODAY) for r in rows], dtype=np.int32),
    }
    for c in OBSERVATION_COLUMNS:
        table[c.name] = np.array([r.get(c.name, np.nan) for r in rows], dtype=np.float64)
    return table


def built(rows: Sequence[Mapping[str, float]], grid: StationGrid = ONE, day: int = TODAY) -> FeatureMatrix:
    return build_features(observed(rows), grid, neighbour_weights(grid), first_day=day, last_day=day)


def value(matrix: FeatureMatrix, name: str, row: int = 0) -> float:
    return float(matrix.values[row, COLUMN[name]])


def random_observations(
    seed: int, stations: int, first_day: int, last_day: int, *, missing: float = 0.2, absent: float = 0.1
) -> Observations:
    """Plausible numbers on most station-days, with missing values, in random order of rows."""
    rng = np.random.default_rng(seed)
    day, station = np.divmod(np.arange((last_day - first_day + 1) * stations), stations)
    kept = rng.permutation(np.flatnonzero(rng.random(len(day)) >= absent))
    table: Observations = {
        "station_index": station[kept].astype(np.int32),
        "day": (day[kept] + first_day).astype(np.int32),
    }
    for c in OBSERVATION_COLUMNS:
        if c.kind == "compass":
            numbers = rng.integers(0, 16, len(kept)) * 22.5
        elif c.kind == "flag":
            numbers = rng.integers(0, 2, len(kept)).astype(np.float64)
        elif c.name == "rainfall_mm":
            numbers = np.round(np.maximum(0, rng.normal(-2, 4, len(kept))), 1)
        elif c.name.startswith("pressure"):
            numbers = np.round(rng.normal(1015, 8, len(kept)), 1)
        else:
            numbers = np.round(rng.uniform(max(0, c.low or 0), min(60, c.high or 0), len(kept)), 1)
        numbers[rng.random(len(kept)) < missing] = np.nan
        table[c.name] = numbers
    return table


def taken(observations: Observations, rows: NDArray[Any]) -> Observations:
    return {name: values[rows] for name, values in observations.items()}


def same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return left.shape == right.shape and np.ascontiguousarray(left).tobytes() == np.ascontiguousarray(right).tobytes()


# --- the contract


def test_every_feature_has_a_unique_name_that_ends_with_its_unit() -> None:
    ending = {
        "degC": "_c",
        "mm": "_mm",
        "h": "_hours",
        "km/h": "_kmh",
        "%": "_pct",
        "hPa": "_hpa",
        "oktas": "_oktas",
    }
    assert len(set(feature_names())) == len(FEATURES)
    for f in FEATURES:
        assert f.description
        assert f.name.endswith(ending.get(f.unit, "")), f


def test_the_matrix_has_the_contracts_columns_as_float32_in_c_order() -> None:
    matrix = built([{"max_temp_c": 20.0}])
    assert matrix.values.shape == (1, len(FEATURES))
    assert matrix.values.dtype == np.float32
    assert matrix.values.flags.c_contiguous
    assert matrix.station_index.dtype == np.int32
    assert matrix.day.dtype == np.int32


def test_the_version_carries_the_revision_and_a_digest_of_the_names() -> None:
    revision, digest = FEATURE_VERSION.split("-")
    assert int(revision) == features_module.CODE_REVISION
    assert len(digest) == 12


def test_no_feature_is_named_after_tomorrow() -> None:
    assert not [n for n in feature_names() if "tomorrow" in n or "risk" in n]


# --- one station's own day


def test_the_observed_numbers_are_copied() -> None:
    numbers = {c.name: 10.0 + i for i, c in enumerate(OBSERVATION_COLUMNS) if c.kind == "number"}
    matrix = built([numbers])
    for name, number in numbers.items():
        assert value(matrix, name) == number


def test_what_was_not_observed_is_missing_not_zero() -> None:
    matrix = built([{}])
    place = {"season_sin", "season_cos", "latitude_deg", "longitude_deg", "elevation_m"}
    assert {n for n in COLUMN if not np.isnan(value(matrix, n))} == place


def test_wind_becomes_the_components_it_blows_towards() -> None:
    matrix = built(
        [
            {
                "wind_speed_9am_kmh": 20, "wind_direction_9am_deg": 270,  # from the west: towards the east
                "wind_speed_3pm_kmh": 10, "wind_direction_3pm_deg": 180,  # from the south: towards the north
                "wind_gust_speed_kmh": 40, "wind_gust_direction_deg": 22.5,
            }
        ]
    )  # fmt: skip
    assert value(matrix, "wind_9am_eastward_kmh") == 20
    assert value(matrix, "wind_9am_northward_kmh") == 0
    assert value(matrix, "wind_3pm_eastward_kmh") == 0
    assert value(matrix, "wind_3pm_northward_kmh") == 10
    assert value(matrix, "wind_gust_eastward_kmh") == pytest.approx(-40 * np.sin(np.pi / 8))
    assert value(matrix, "wind_gust_northward_kmh") == pytest.approx(-40 * np.cos(np.pi / 8))


def test_a_direction_of_360_degrees_is_north_and_odd_degrees_go_to_the_nearest_half() -> None:
    full = built([{"wind_speed_3pm_kmh": 10, "wind_direction_3pm_deg": 360}])
    assert value(full, "wind_3pm_northward_kmh") == -10
    odd = built([{"wind_speed_3pm_kmh": 10, "wind_direction_3pm_deg": 90.2}])
    assert value(odd, "wind_3pm_eastward_kmh") == -10


def test_a_calm_needs_no_direction_but_any_other_wind_does() -> None:
    matrix = built([{"wind_speed_9am_kmh": 0, "wind_speed_3pm_kmh": 10, "wind_gust_direction_deg": 90}])
    assert value(matrix, "wind_9am_eastward_kmh") == 0
    assert np.isnan(value(matrix, "wind_3pm_eastward_kmh"))
    assert np.isnan(value(matrix, "wind_gust_eastward_kmh"))


@pytest.mark.parametrize(("mm", "wet"), [(0, 0), (1.0, 0), (1.1, 1)])
def test_a_rain_day_has_more_than_one_millimetre(mm: float, wet: float) -> None:
    assert value(built([{"rainfall_mm": mm}]), "rain_day") == wet


def test_the_sources_own_rain_flag_counts_only_when_the_amount_is_unknown() -> None:
    assert value(built([{"rain_today": 1}]), "rain_day") == 1
    assert value(built([{"rain_today": 1, "rainfall_mm": 0.2}]), "rain_day") == 0


def test_the_season_is_an_angle_that_closes_over_the_new_year_and_knows_leap_years() -> None:
    def season(day: date) -> tuple[float, float]:
        number = (day - date(1970, 1, 1)).days
        matrix = built([{"day": number}], day=number)
        return value(matrix, "season_sin"), value(matrix, "season_cos")

    assert season(date(2015, 1, 1)) == (0, 1)
    assert season(date(2015, 3, 1)) == pytest.approx((np.sin(2 * np.pi * 59 / 365.25), np.cos(2 * np.pi * 59 / 365.25)))
    assert season(date(2012, 2, 29)) == season(date(2015, 3, 1))
    assert season(date(2012, 12, 31)) == pytest.approx(season(date(2013, 1, 1)), abs=0.02)


def test_position_and_elevation_are_those_of_the_station() -> None:
    grid = grid_of((-33, 151), (-37.5, 144.25))
    matrix = built([{"station_index": 1}], grid)
    assert [value(matrix, n) for n in ("latitude_deg", "longitude_deg", "elevation_m")] == [-37.5, 144.25, 10]


# --- yesterday and before


def test_yesterdays_values_are_those_of_the_day_before_only() -> None:
    matrix = built(
        [
            {},
            {"day": TODAY - 1, "max_temp_c": 31, "humidity_3pm_pct": 40},
            {"day": TODAY - 2, "rainfall_mm": 9},
        ]
    )
    assert value(matrix, "yesterday_max_temp_c") == 31
    assert value(matrix, "yesterday_humidity_3pm_pct") == 40
    assert np.isnan(value(matrix, "yesterday_rainfall_mm"))


def test_a_gap_in_the_days_is_never_bridged() -> None:
    matrix = built([{"pressure_3pm_hpa": 1010}, {"day": TODAY - 2, "pressure_3pm_hpa": 1020, "max_temp_c": 30}])
    for name in ("pressure_change_24h_hpa", "yesterday_pressure_3pm_hpa", "yesterday_max_temp_c"):
        assert np.isnan(value(matrix, name))


def test_yesterday_of_one_station_is_never_another_station() -> None:
    grid = grid_of((-33, 151), (-33, 151.5), (-33, 152))
    rows = [{"station_index": s, "day": TODAY - 1, "max_temp_c": 20 + s} for s in (0, 2)]
    matrix = built([*rows, {"station_index": 1}], grid)
    assert np.isnan(value(matrix, "yesterday_max_temp_c"))


def test_pressure_changes_over_24_hours_and_from_9am_to_3pm() -> None:
    today = {"pressure_3pm_hpa": 1008.5, "pressure_9am_hpa": 1012.0}
    matrix = built([today, {"day": TODAY - 1, "pressure_3pm_hpa": 1015.0, "pressure_9am_hpa": 1.0}])
    assert value(matrix, "pressure_change_24h_hpa") == -6.5
    assert value(matrix, "pressure_tendency_9am_3pm_hpa") == -3.5


def test_rain_means_count_only_the_days_that_were_observed() -> None:
    fell = {0: 6.0, 2: 0.0, 4: 12.0, 7: 40.0, 29: 2.0, 30: 500.0}
    matrix = built([{"day": TODAY - lag, "rainfall_mm": mm} for lag, mm in fell.items()])
    assert value(matrix, "rainfall_mean_3d_mm") == 3.0
    assert value(matrix, "rainfall_mean_7d_mm") == 6.0
    assert value(matrix, "rainfall_mean_30d_mm") == 12.0


def test_a_rain_mean_of_no_observed_day_is_missing() -> None:
    matrix = built([{}, {"day": TODAY - 5, "rainfall_mm": 8.0}])
    assert np.isnan(value(matrix, "rainfall_mean_3d_mm"))
    assert value(matrix, "rainfall_mean_7d_mm") == 8.0


@pytest.mark.parametrize(
    ("fell", "days"),
    [
        ({0: 5.0}, 0),
        ({0: 1.0, 1: 1.1}, 1),
        ({0: 0.0, 12: 3.0, 20: 3.0}, 12),
        ({0: 0.0, 29: 3.0}, 29),
        ({0: 0.0, 30: 3.0}, 30),
        ({0: 0.0}, 30),
        ({40: 3.0}, np.nan),
    ],
)
def test_days_since_rain_are_counted_and_capped(fell: dict[int, float], days: float) -> None:
    rows = [{"day": TODAY - lag, "rainfall_mm": mm} for lag, mm in fell.items()]
    if 0 not in fell:
        rows.append({})
    assert np.array_equal(value(built(rows), "days_since_rain"), days, equal_nan=True)


# --- neighbours

CROSS = grid_of((-30, 145), (-28, 145), (-30, 148), (-33, 145), (-30, 141))
"""A station, and one to its north, east, south and west."""


def test_a_neighbour_mean_is_the_gaussian_weighted_mean_of_the_others() -> None:
    seen = [99.0, 10.0, 20.0, 30.0, 40.0]
    matrix = built([{"station_index": s, "humidity_3pm_pct": v} for s, v in enumerate(seen)], CROSS)
    km = distance_km(CROSS.latitude_deg[0], CROSS.longitude_deg[0], CROSS.latitude_deg[1:], CROSS.longitude_deg[1:])
    for radius in (150, 400, 1000):
        weights = np.where(km <= 3 * radius, np.exp(-0.5 * (km / radius) ** 2), 0)
        expected = (weights * seen[1:]).sum() / weights.sum()
        assert value(matrix, f"within_{radius}km_humidity_3pm_pct") == pytest.approx(expected, rel=1e-5)


def test_each_sector_sees_the_stations_that_lie_there() -> None:
    rows = [{"station_index": s, "temp_3pm_c": 10.0 * s, "pressure_3pm_hpa": 1000 + s} for s in range(5)]
    matrix = built(rows, CROSS)
    for s, side in enumerate(("north", "east", "south", "west"), start=1):
        assert value(matrix, f"{side}_700km_temp_3pm_c") == 10 * s
        assert value(matrix, f"{side}_700km_pressure_3pm_hpa") == pytest.approx(1000 + s, abs=1e-4)


def test_contrasts_set_the_station_against_its_surroundings_and_one_side_against_the_other() -> None:
    rows = [{"station_index": s, "pressure_3pm_hpa": 1000.0 + 2**s, "temp_3pm_c": 2.0**s} for s in range(5)]
    matrix = built(rows, CROSS)
    assert value(matrix, "west_minus_east_700km_temp_3pm_c") == 16 - 4
    assert value(matrix, "north_minus_south_700km_pressure_3pm_hpa") == pytest.approx(2 - 8, abs=1e-3)
    assert value(matrix, "west_700km_minus_own_pressure_3pm_hpa") == pytest.approx(16 - 1, abs=1e-3)
    anomaly = 1 - value(matrix, "within_400km_temp_3pm_c")
    assert value(matrix, "temp_3pm_minus_within_400km_c") == pytest.approx(anomaly)
    assert np.isnan(value(matrix, "west_minus_east_700km_humidity_3pm_pct"))


def test_the_sectors_are_a_partition_of_the_neighbours_within_reach() -> None:
    grid = StationGrid.from_stations(STATIONS)
    weights = neighbour_weights(grid).matrix.toarray().reshape(len(grid), len(FIELDS), len(grid))
    assert (np.count_nonzero(weights[:, 3:], axis=1) <= 1).all()
    km = distance_km(grid.latitude_deg[:, None], grid.longitude_deg[:, None], grid.latitude_deg, grid.longitude_deg)
    in_reach = (km <= 2100) & ~np.eye(len(grid), dtype=bool)
    assert np.array_equal(np.count_nonzero(weights[:, 3:], axis=1), in_reach)


def test_a_station_is_never_its_own_neighbour_even_beside_another_at_the_same_place() -> None:
    grid = grid_of((-33, 151), (-33, 151))
    rows = [{"station_index": 0, "temp_3pm_c": 10}, {"station_index": 1, "temp_3pm_c": 30}]
    matrix = built(rows, grid)
    assert [value(matrix, "within_150km_temp_3pm_c", row) for row in (0, 1)] == [30, 10]


def test_a_neighbour_at_the_same_place_counts_around_the_station_and_in_no_sector() -> None:
    grid = grid_of((-33, 151), (-33, 151), (-32.9, 151))
    weights = neighbour_weights(grid).matrix.toarray().reshape(3, len(FIELDS), 3)
    assert (weights[0, :3, 1] == 1).all()
    assert not weights[0, 3:, 1].any()
    assert not weights[1, 3:, 0].any()
    assert np.flatnonzero(weights[0, 3:, 2]).tolist() == [0]
    rows = [{"station_index": s, "temp_3pm_c": t} for s, t in enumerate((10, 30, 20))]
    assert value(built(rows, grid), "north_700km_temp_3pm_c") == 20


def test_a_neighbour_that_did_not_report_does_not_count() -> None:
    grid = grid_of((-33, 151), (-33, 151.3), (-33, 150.7))
    rows = [
        {"station_index": 0},
        {"station_index": 1, "cloud_3pm_oktas": 8},
        {"station_index": 2, "rainfall_mm": 4},
    ]
    matrix = built(rows, grid)
    assert value(matrix, "within_150km_cloud_3pm_oktas") == 8
    assert value(matrix, "within_150km_rainfall_mm") == 4
    assert value(matrix, "within_150km_rain_day") == 1
    assert np.isnan(value(matrix, "within_150km_sunshine_hours"))


def test_a_station_without_neighbours_in_reach_has_missing_fields() -> None:
    matrix = built([{"station_index": 0}, {"station_index": 1, "temp_3pm_c": 20}], grid_of((-10, 120), (-40, 150)))
    assert np.isnan(matrix.values[0, [COLUMN[n] for n in COLUMN if "km_" in n and n.startswith("within")]]).all()


def test_a_neighbours_pressure_change_needs_both_its_days() -> None:
    grid = grid_of((-33, 151), (-33, 151.3), (-33, 150.7))
    rows: list[dict[str, float]] = [
        {"station_index": 0},
        {"station_index": 1, "pressure_3pm_hpa": 1010},
        {"station_index": 1, "pressure_3pm_hpa": 1014.5, "day": TODAY - 1},
        {"station_index": 2, "pressure_3pm_hpa": 1000},
    ]
    assert value(built(rows, grid), "within_150km_pressure_change_24h_hpa") == -4.5


def test_neighbour_wind_is_averaged_as_a_vector() -> None:
    grid = grid_of((-33, 151), (-33, 151.3), (-33, 150.7))
    rows = [
        {"station_index": 0},
        {"station_index": 1, "wind_speed_3pm_kmh": 10, "wind_direction_3pm_deg": 90},
        {"station_index": 2, "wind_speed_3pm_kmh": 10, "wind_direction_3pm_deg": 270},
    ]
    assert value(built(rows, grid), "within_150km_wind_3pm_eastward_kmh") == pytest.approx(0, abs=1e-5)


def test_a_field_keeps_its_64_nearest_stations() -> None:
    grid = grid_of(*[(-30.0, 140 + 0.01 * i) for i in range(100)])
    weights = neighbour_weights(grid).matrix.tocsr()
    assert np.diff(weights.indptr).max() == MAX_NEIGHBOURS
    within, west = weights[[0]].indices, weights[[99 * len(FIELDS) + 6]].indices
    assert sorted(within) == list(range(1, 65))
    assert sorted(west) == list(range(35, 99))
    rows = [{"station_index": s, "temp_3pm_c": 20.0 if s <= 64 else 50.0} for s in range(100)]
    assert value(built(rows, grid), "within_1000km_temp_3pm_c") == pytest.approx(20)


def test_ties_in_distance_go_by_catalogue_order() -> None:
    grid = grid_of((-30, 140), *[(-31.0, 140.0)] * 70)
    assert sorted(neighbour_weights(grid).matrix[[0]].indices) == list(range(1, 65))


def test_the_bearing_that_names_a_sector_is_taken_at_the_station() -> None:
    weights = neighbour_weights(CROSS).matrix.toarray().reshape(5, len(FIELDS), 5)
    for s in range(5):
        for other in set(range(5)) - {s}:
            at = bearing_deg(*(a[[i]] for i in (s, other) for a in (CROSS.latitude_deg, CROSS.longitude_deg)))[0]
            sector = int((at + 45) % 360 // 90)
            assert [f for f in range(4) if weights[s, 3 + f, other]] == [sector]


# --- rows, order and history


def test_rows_are_every_observed_station_day_of_the_window_by_day_then_station() -> None:
    observations = random_observations(1, 5, TODAY - 40, TODAY + 3)
    grid = grid_of(*[(-30 - i, 145 + i) for i in range(5)])
    matrix = build_features(observations, grid, neighbour_weights(grid), first_day=TODAY - 2, last_day=TODAY)
    inside = (observations["day"] >= TODAY - 2) & (observations["day"] <= TODAY)
    expected = sorted(zip(observations["day"][inside], observations["station_index"][inside], strict=True))
    assert list(zip(matrix.day, matrix.station_index, strict=True)) == expected


def test_no_observation_gives_no_row() -> None:
    matrix = built([])
    assert matrix.values.shape == (0, len(FEATURES))
    assert np.isnan(list(missing_share(matrix).values())).all()


def test_history_before_the_first_day_is_used_and_nothing_older() -> None:
    recent = {"day": TODAY - HISTORY_DAYS, "rainfall_mm": 5.0}
    older = {"day": TODAY - HISTORY_DAYS - 1, "rainfall_mm": 5.0}
    assert same_bits(built([{"rainfall_mm": 0.0}, recent]).values, built([{"rainfall_mm": 0.0}, recent, older]).values)


def test_a_station_day_that_appears_twice_is_refused_by_name() -> None:
    with pytest.raises(InvariantError, match=r"station S0 has 2 rows on 2015-06-15"):
        built([{"max_temp_c": 20}, {"max_temp_c": 21}])


def test_a_duplicate_outside_the_window_is_not_this_calls_business() -> None:
    assert len(built([{}, {"day": TODAY - 90}, {"day": TODAY - 90}])) == 1


def test_rows_of_an_unknown_station_give_no_row_and_touch_no_neighbour() -> None:
    grid = grid_of((-33, 151), (-33, 151.3))
    known = [{"station_index": 0, "temp_3pm_c": 20}, {"station_index": 1, "temp_3pm_c": 25}]
    stranger = {"station_index": -1, "temp_3pm_c": 50, "rainfall_mm": 99}
    with_stranger = built([*known, stranger, stranger], grid)
    assert same_bits(with_stranger.values, built(known, grid).values)
    assert list(with_stranger.station_index) == [0, 1]


@pytest.mark.parametrize("station", [-2, 1, 7])
def test_an_index_outside_the_catalogue_is_refused(station: int) -> None:
    with pytest.raises(InvariantError, match="station_index"):
        built([{"station_index": station}])


@pytest.mark.parametrize("station", [-1, 1])
def test_features_of_an_unknown_station_are_refused(station: int) -> None:
    rows = (np.array([station]), np.array([TODAY]))
    with pytest.raises(InvariantError, match="unknown station"):
        build_features(observed([{}]), ONE, neighbour_weights(ONE), first_day=TODAY, last_day=TODAY, rows=rows)


def test_features_of_a_day_without_an_observation_or_outside_the_history_are_refused() -> None:
    history = History(observed([{}]), ONE, neighbour_weights(ONE), first_day=TODAY - 1, last_day=TODAY)
    with pytest.raises(InvariantError, match="S0 reported nothing on 2015-06-14"):
        history.features((np.array([0]), np.array([TODAY - 1])))
    for day in (TODAY - 2, TODAY + 1):
        with pytest.raises(InvariantError, match="outside 2015-06-14 to 2015-06-15"):
            history.features((np.array([0]), np.array([day])))
    with pytest.raises(InvariantError, match="one day per station"):
        history.features((np.array([0, 0]), np.array([TODAY])))


def test_a_laid_row_needs_a_day_of_the_history_unless_the_history_counts_as_empty() -> None:
    history = History(observed([{"rainfall_mm": 4.0}]), ONE, neighbour_weights(ONE), first_day=TODAY, last_day=TODAY)
    dry = own_values(np.array([[0.0 if c.name == "rainfall_mm" else np.nan for c in OBSERVATION_COLUMNS]]))[0]
    day = TODAY + 1
    with pytest.raises(InvariantError, match="outside 2015-06-15 to 2015-06-15"):
        history.features_of_one(0, day, {(0, day): dry})
    empty = history.features_of_one(0, day, {(0, day): dry}, held=False)
    assert same_bits(empty, built([{"day": day, "rainfall_mm": 0.0}], day=day).values)
    laid = history.features_of_one(0, TODAY, {(0, TODAY): dry})
    assert same_bits(laid, built([{"rainfall_mm": 0.0}]).values)


def test_a_window_that_ends_before_it_starts_and_a_missing_column_are_refused() -> None:
    with pytest.raises(InvariantError, match="before first day"):
        build_features(observed([{}]), ONE, neighbour_weights(ONE), first_day=TODAY, last_day=TODAY - 1)
    observations = observed([{}])
    del observations["cloud_3pm_oktas"]
    with pytest.raises(InvariantError, match="cloud_3pm_oktas"):
        build_features(observations, ONE, neighbour_weights(ONE), first_day=TODAY, last_day=TODAY)


def test_the_index_of_an_id_that_is_not_in_the_catalogue_is_minus_one() -> None:
    grid = StationGrid.from_stations(STATIONS)
    assert list(grid.index_of(["Sydney", "Atlantis", None, "Adelaide"])) == [37, -1, -1, 0]


def test_missing_shares_are_counted_per_feature() -> None:
    matrix = built([{"station_index": s, **({"max_temp_c": 20.0} if s else {})} for s in range(4)], CROSS)
    shares = missing_share(matrix)
    assert list(shares) == feature_names()
    assert (shares["max_temp_c"], shares["min_temp_c"], shares["latitude_deg"]) == (0.25, 1.0, 0.0)


# --- the same bits in every batch, and nothing from the future

MANY = grid_of(*[(-20 - 0.37 * i, 120 + 0.71 * ((i * 17) % 40)) for i in range(40)])
MANY_WEIGHTS = neighbour_weights(MANY)
FIRST = TODAY - 500


def whole(seed: int = 3) -> tuple[Observations, FeatureMatrix]:
    observations = random_observations(seed, len(MANY), FIRST - HISTORY_DAYS, TODAY)
    return observations, build_features(observations, MANY, MANY_WEIGHTS, first_day=FIRST, last_day=TODAY)


def test_one_row_alone_has_the_bits_it_has_among_all_rows() -> None:
    observations, matrix = whole()
    history = History(observations, MANY, MANY_WEIGHTS, first_day=FIRST, last_day=TODAY)
    for i in np.random.default_rng(1).choice(len(matrix), 60, replace=False):
        row = (matrix.station_index[[i]], matrix.day[[i]])
        assert same_bits(history.features(row).values, matrix.values[[i]])
        day = int(matrix.day[i])
        known = taken(
            observations,
            np.flatnonzero((observations["day"] <= day) & (observations["day"] >= day - HISTORY_DAYS)),
        )
        alone = build_features(known, MANY, MANY_WEIGHTS, first_day=day, last_day=day, rows=row)
        assert same_bits(alone.values, matrix.values[[i]])


def test_days_computed_one_by_one_have_the_bits_of_the_whole() -> None:
    observations, matrix = whole()
    for day in range(TODAY - 20, TODAY + 1):
        part = build_features(observations, MANY, MANY_WEIGHTS, first_day=day, last_day=day)
        assert same_bits(part.values, matrix.values[matrix.day == day])


def test_the_order_of_the_observations_changes_nothing() -> None:
    observations, matrix = whole()
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(len(observations["day"]))
        again = build_features(taken(observations, order), MANY, MANY_WEIGHTS, first_day=FIRST, last_day=TODAY)
        assert same_bits(again.values, matrix.values)


def test_a_selection_comes_in_its_own_order_with_the_bits_of_the_whole() -> None:
    observations, matrix = whole()
    history = History(observations, MANY, MANY_WEIGHTS, first_day=FIRST, last_day=TODAY)
    rng = np.random.default_rng(2)
    for size in (2, 3, 17, 1000, len(matrix)):
        rows = rng.choice(len(matrix), size, replace=True)
        selected = history.features((matrix.station_index[rows], matrix.day[rows]))
        assert same_bits(selected.values, matrix.values[rows])
        assert np.array_equal(selected.station_index, matrix.station_index[rows])
        assert np.array_equal(selected.day, matrix.day[rows])
    few = np.flatnonzero(np.isin(matrix.station_index, (3, 20, 39)))
    assert same_bits(history.features((matrix.station_index[few], matrix.day[few])).values, matrix.values[few])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), seed=st.integers(0, 10_000), stations=st.integers(1, 12), days=st.integers(1, 40))
def test_any_row_of_any_table_has_its_own_bits(data: st.DataObject, seed: int, stations: int, days: int) -> None:
    grid = grid_of(*[(-25 - 1.1 * i, 130 + 2.3 * (i % 5)) for i in range(stations)])
    weights = neighbour_weights(grid)
    observations = random_observations(seed, stations, TODAY - days, TODAY, missing=0.4, absent=0.3)
    matrix = build_features(observations, grid, weights, first_day=TODAY - days, last_day=TODAY)
    if len(matrix) == 0:
        return
    i = data.draw(st.integers(0, len(matrix) - 1))
    day = int(matrix.day[i])
    row = (matrix.station_index[[i]], matrix.day[[i]])
    alone = build_features(observations, grid, weights, first_day=day, last_day=day, rows=row)
    assert same_bits(alone.values, matrix.values[[i]])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), back=st.integers(0, 30))
def test_nothing_that_happens_after_a_day_changes_its_features(seed: int, back: int) -> None:
    grid = grid_of(*[(-25 - 1.1 * i, 130 + 2.3 * (i % 5)) for i in range(8)])
    weights = neighbour_weights(grid)
    first, day = TODAY - 40, TODAY - back
    past = random_observations(seed, 8, first, TODAY)
    other_future = random_observations(seed + 1, 8, day + 1, TODAY + 1)
    kept = taken(past, np.flatnonzero(past["day"] <= day))
    changed = {name: np.concatenate((kept[name], other_future[name])) for name in kept}
    one, two, alone = (build_features(o, grid, weights, first_day=first, last_day=TODAY) for o in (past, changed, kept))
    assert same_bits(one.values[one.day <= day], two.values[two.day <= day])
    assert same_bits(one.values[one.day <= day], alone.values)


def test_what_happened_up_to_the_day_does_change_its_features() -> None:
    observations, matrix = whole()
    altered = dict(observations)
    altered["humidity_3pm_pct"] = np.where(
        (observations["day"] == TODAY) & (observations["station_index"] == 0),
        77.7,
        observations["humidity_3pm_pct"],
    )
    again = build_features(altered, MANY, MANY_WEIGHTS, first_day=FIRST, last_day=TODAY)
    today = matrix.day == TODAY
    assert same_bits(again.values[~today], matrix.values[~today])
    assert not same_bits(again.values[today], matrix.values[today])


def test_every_missing_value_is_the_same_nan() -> None:
    _, matrix = whole()
    bits = matrix.values.view(np.uint32)[np.isnan(matrix.values)]
    assert set(bits) == {0x7FC00000}


def test_the_catalogue_may_grow_without_changing_the_far_away_rows() -> None:
    observations = random_observations(5, 3, TODAY - 10, TODAY)
    places = [(-30.0, 145.0), (-31.0, 146.0), (-32.0, 144.0)]
    small, large = grid_of(*places), grid_of(*places, (40.0, 10.0))
    one, two = (
        build_features(observations, g, neighbour_weights(g), first_day=TODAY - 10, last_day=TODAY)
        for g in (small, large)
    )
    assert same_bits(one.values, two.values)


# --- the real table


@pytest.fixture(scope="module")
def real() -> tuple[Observations, StationGrid]:
    if not REAL_TABLE.exists():
        pytest.skip("the shared real table is not here")
    strings_can_be_null = pacsv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    with gzip.open(REAL_TABLE) as file:
        table = pacsv.read_csv(file, convert_options=strings_can_be_null)
    grid = StationGrid.from_stations(STATIONS)
    observations: Observations = {
        "station_index": grid.index_of(table["Location"].to_pylist()),
        "day": table["Date"].to_numpy().astype("datetime64[D]").astype(np.int32),
    }
    codes: dict[str, dict[str | None, float]] = {
        "compass": {point: i * 22.5 for i, point in enumerate(COMPASS_POINTS)},
        "flag": {"Yes": 1.0, "No": 0.0},
    }
    for c in OBSERVATION_COLUMNS:
        column = table[c.weather_aus]
        if c.kind == "number":
            observations[c.name] = column.to_numpy().astype(np.float64)
        else:
            observations[c.name] = np.array([codes[c.kind].get(v, np.nan) for v in column.to_pylist()])
    return observations, grid


def test_the_real_table_gives_one_row_per_observation_and_the_same_bits_by_year_and_by_row(
    real: tuple[Observations, StationGrid],
) -> None:
    observations, grid = real
    weights = neighbour_weights(grid)
    first, last = int(observations["day"].min()), int(observations["day"].max())
    matrix = build_features(observations, grid, weights, first_day=first, last_day=last)
    assert len(matrix) == len(observations["day"]) == 116_219
    year = [(date(y, 1, 1) - date(1970, 1, 1)).days for y in (2012, 2013)]
    part = build_features(observations, grid, weights, first_day=year[0], last_day=year[1] - 1)
    assert same_bits(part.values, matrix.values[(matrix.day >= year[0]) & (matrix.day < year[1])])
    history = History(observations, grid, weights, first_day=first, last_day=last)
    for i in range(0, len(matrix), 2_503):
        row = (matrix.station_index[[i]], matrix.day[[i]])
        assert same_bits(history.features(row).values, matrix.values[[i]])


def test_the_real_table_has_neighbour_fields_nearly_everywhere(
    real: tuple[Observations, StationGrid],
) -> None:
    observations, grid = real
    first, last = int(observations["day"].max()) - 365, int(observations["day"].max())
    matrix = build_features(observations, grid, neighbour_weights(grid), first_day=first, last_day=last)
    shares = missing_share(matrix)
    assert shares["within_1000km_pressure_3pm_hpa"] < 0.03
    assert shares["pressure_3pm_hpa"] > shares["within_400km_pressure_3pm_hpa"]
    pressure = matrix.values[:, COLUMN["within_400km_pressure_3pm_hpa"]]
    assert np.nanmin(pressure) > 970
    assert np.nanmax(pressure) < 1050
