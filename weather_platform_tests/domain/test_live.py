"""What a request sends laid over what is stored: the same bits as the features of the merged rows."""

from collections.abc import Iterable, Mapping

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weather_platform.domain import live
from weather_platform.domain.features import FEATURES, HISTORY_DAYS, FeatureMatrix, build_features
from weather_platform.domain.live import RecentObservations, SentDay
from weather_platform.domain.neighbours import neighbour_weights
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.errors import InvariantError
from weather_platform_tests.domain.test_features import (
    TODAY,
    Observations,
    grid_of,
    observed,
    random_observations,
    same_bits,
    value,
)

NAMES = tuple(c.name for c in OBSERVATION_COLUMNS)
GRID = grid_of(*[(-25 - 1.1 * i, 130 + 2.3 * (i % 5)) for i in range(7)], (40.0, 10.0))
WEIGHTS = neighbour_weights(GRID)
DAYS = 12
FIRST = TODAY - DAYS + 1

Row = dict[str, float]
Key = tuple[int, int]


def stored(seed: int = 1) -> Observations:
    """Rows of the stored days, those before the first day among them."""
    return random_observations(seed, len(GRID), FIRST - HISTORY_DAYS, TODAY, missing=0.3, absent=0.3)


def recent(observations: Observations) -> RecentObservations:
    return RecentObservations(observations, GRID, first_day=FIRST, last_day=TODAY)


def rows_of(observations: Observations) -> dict[Key, Row]:
    """The rows by station and day, with every field named."""
    keys = zip(observations["station_index"].tolist(), observations["day"].tolist(), strict=True)
    return {key: {name: float(observations[name][i]) for name in NAMES} for i, key in enumerate(keys)}


def merged(observations: Observations, sent: Mapping[Key, Mapping[str, float]], *, use_history: bool) -> dict[Key, Row]:
    """What counts as reported, row by row: the definition that everything here is compared with."""
    rows = rows_of(observations) if use_history else {}
    for key, fields in sent.items():
        rows[key] = {**rows.get(key, {}), **fields}
    return rows


def expected(
    observations: Observations, sent: Mapping[Key, Mapping[str, float]], asked: Iterable[Key], *, use_history: bool
) -> NDArray[np.float32]:
    """The features of the asked rows, from the merged rows by `build_features`, each with its own days."""
    table = observed(
        [
            {"station_index": s, "day": d, **fields}
            for (s, d), fields in merged(observations, sent, use_history=use_history).items()
        ]
    )
    found = [
        build_features(
            table, GRID, WEIGHTS, first_day=day, last_day=day, rows=(np.array([station]), np.array([day]))
        ).values
        for station, day in asked
    ]
    return np.concatenate(found) if found else np.empty((0, len(FEATURES)), dtype=np.float32)


def columns(sent: Mapping[Key, Mapping[str, float]]) -> tuple[Observations, dict[str, NDArray[np.bool_]]]:
    """Sent rows as columns, and which rows name each of them."""
    table = observed([{"station_index": s, "day": d, **fields} for (s, d), fields in sent.items()])
    named = {name: np.array([name in fields for fields in sent.values()], dtype=np.bool_) for name in NAMES}
    return table, named


def features_of_one(
    observations: Observations, key: Key, sent: Mapping[Key, Mapping[str, float]], *, use_history: bool
) -> NDArray[np.float32]:
    others = [SentDay(*other, fields) for other, fields in sent.items() if other != key]
    return recent(observations).features_of_one(*key, sent[key], use_history=use_history, others=others)


numbers = st.one_of(
    st.just(np.nan), st.sampled_from([0.0, 1.0, 45.0, 1012.3]), st.floats(0, 360, allow_nan=False, width=32)
)
fields = st.dictionaries(st.sampled_from(NAMES), numbers, max_size=len(NAMES))
# Inside the stored days, just after them, long before and long after: 2010 to 2023.
days = st.one_of(
    st.integers(TODAY - 4, TODAY + 3),
    st.integers(FIRST - 2 * HISTORY_DAYS, TODAY + 2 * HISTORY_DAYS),
    st.sampled_from([TODAY - 2000, TODAY - 1999, TODAY + 3000]),
)
keys = st.tuples(st.integers(0, len(GRID) - 1), days)
requests = st.dictionaries(keys, fields, min_size=1, max_size=12)
slow = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(seed=st.integers(0, 20), sent=requests, use_history=st.booleans())
def test_one_row_has_the_bits_of_the_merged_rows(
    seed: int, sent: dict[Key, dict[str, float]], use_history: bool
) -> None:
    observations, key = stored(seed), next(iter(sent))
    found = features_of_one(observations, key, sent, use_history=use_history)
    assert found.shape == (1, len(FEATURES))
    assert same_bits(found, expected(observations, sent, [key], use_history=use_history))


@slow
@given(seed=st.integers(0, 20), sent=requests, use_history=st.booleans())
def test_many_rows_have_the_bits_of_the_merged_rows_in_the_order_sent(
    seed: int, sent: dict[Key, dict[str, float]], use_history: bool
) -> None:
    observations = stored(seed)
    table, named = columns(sent)
    found = recent(observations).features_of_many(table, use_history=use_history, named=named)
    assert list(zip(found.station_index.tolist(), found.day.tolist(), strict=True)) == list(sent)
    assert same_bits(found.values, expected(observations, sent, sent, use_history=use_history))


def test_a_long_batch_is_built_block_by_block_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    observations = stored()
    batch = random_observations(5, len(GRID), TODAY - 300, TODAY + 10)
    at_once = recent(observations).features_of_many(batch, use_history=True)
    monkeypatch.setattr(live, "_CELLS_AT_ONCE", 40 * len(GRID))
    in_blocks = recent(observations).features_of_many(batch, use_history=True)
    assert same_bits(at_once.values, in_blocks.values)


def test_days_far_apart_take_little_room_and_have_the_bits_that_each_has_alone() -> None:
    observations = stored()
    long_ago = (TODAY - 3_000 + later for later in (0, 1, 29, 30, 31, 62))
    days = [TODAY - 700_000, *long_ago, TODAY - 1, TODAY, TODAY + 2_900_000]
    sent = {
        (station, day): dict.fromkeys(NAMES, station + number / 10)
        for number, day in enumerate(days)
        for station in (number % 3, 4)
    }
    table, named = columns(sent)
    found = recent(observations).features_of_many(table, use_history=True, named=named)
    for at, ((station, day), fields) in enumerate(sent.items()):
        others = [
            SentDay(*key, row) for key, row in sent.items() if 0 <= day - key[1] <= HISTORY_DAYS and row is not fields
        ]
        alone = recent(observations).features_of_one(station, day, fields, use_history=True, others=others)
        assert same_bits(found.values[at : at + 1], alone)


def test_parts_of_a_batch_look_at_a_limited_number_of_reported_days() -> None:
    reported = np.array([0, 10, 100, 120, 130, 131, 1000], dtype=np.int32)
    asked = reported[[1, 3, 4, 5, 6]]
    assert list(live._spans(asked, reported, 7)) == [(10, 1000)]
    assert list(live._spans(asked, reported, 3)) == [(10, 10), (120, 130), (131, 131), (1000, 1000)]
    assert list(live._spans(asked, reported, 1)) == [(day, day) for day in asked.tolist()]
    assert list(live._spans(asked[:0], reported, 3)) == []


def test_a_selection_of_rows_may_name_stored_ones() -> None:
    observations = stored()
    key = next(k for k in rows_of(observations) if k[1] == TODAY)
    sent = {(key[0], TODAY - 1): {"rainfall_mm": 7.0}, ((key[0] + 1) % 7, TODAY): {"pressure_3pm_hpa": 990.0}}
    table, named = columns(sent)
    rows = (np.array([key[0]]), np.array([key[1]]))
    found = recent(observations).features_of_many(table, rows, use_history=True, named=named)
    assert same_bits(found.values, expected(observations, sent, [key], use_history=True))


def test_columns_that_are_not_sent_come_from_the_store_and_sent_nulls_do_not() -> None:
    observations = stored()
    key = next(k for k, row in rows_of(observations).items() if k[1] == TODAY and row["max_temp_c"] > 0)
    held = rows_of(observations)[key]
    table: Observations = {
        "station_index": np.array([key[0]], dtype=np.int32),
        "day": np.array([key[1]], dtype=np.int32),
        "rainfall_mm": np.array([np.nan]),
    }
    live_rows = recent(observations)
    with_history = live_rows.features_of_many(table, use_history=True)
    assert value(with_history, "max_temp_c") == np.float32(held["max_temp_c"])
    assert np.isnan(value(with_history, "rainfall_mm"))
    assert np.isnan(value(live_rows.features_of_many(table, use_history=False), "max_temp_c"))


def test_a_wind_direction_from_the_store_belongs_to_a_speed_that_is_sent() -> None:
    observations = observed([{"wind_direction_3pm_deg": 270.0, "wind_speed_3pm_kmh": 5.0}])
    found = recent(observations).features_of_one(0, TODAY, {"wind_speed_3pm_kmh": 20.0}, use_history=True)
    day = np.array([TODAY], dtype=np.int32)
    matrix = FeatureMatrix(np.array([0], dtype=np.int32), day, found)
    assert value(matrix, "wind_3pm_eastward_kmh") == 20.0


def test_a_row_that_is_only_stored_has_the_bits_of_the_batch() -> None:
    observations = stored()
    rows = recent(observations)
    batch = build_features(observations, GRID, WEIGHTS, first_day=FIRST, last_day=TODAY)
    for station, day, values in zip(batch.station_index.tolist(), batch.day.tolist(), batch.values, strict=True):
        assert rows.reported(station, day)
        assert same_bits(rows.features_of_one(station, day, {}, use_history=True), values[None])


def test_reported_knows_the_stored_station_days_and_no_others() -> None:
    rows = recent(observed([{"day": TODAY - 1}, {"station_index": 2, "day": FIRST - HISTORY_DAYS}]))
    assert rows.reported(0, TODAY - 1)
    assert rows.reported(2, FIRST - HISTORY_DAYS)
    for station, day in ((0, TODAY), (1, TODAY - 1), (0, TODAY + 1), (2, FIRST - HISTORY_DAYS - 1), (0, 0)):
        assert not rows.reported(station, day)


def test_rows_of_unknown_stations_and_of_other_days_are_not_stored() -> None:
    strangers = observed([{"station_index": -1}, {"day": TODAY + 1, "rainfall_mm": 5.0}, {}])
    assert not recent(strangers).reported(0, TODAY + 1)
    found = recent(strangers).features_of_one(0, TODAY + 2, {}, use_history=True)
    assert same_bits(found, recent(observed([{}])).features_of_one(0, TODAY + 2, {}, use_history=True))


def test_nothing_sent_gives_no_rows() -> None:
    assert len(recent(stored()).features_of_many(columns({})[0], use_history=True)) == 0


def test_an_empty_catalogue_gives_no_rows_and_refuses_every_station() -> None:
    nothing = RecentObservations(observed([]), grid_of(), first_day=TODAY - 3, last_day=TODAY)
    for use_history in (True, False):
        assert len(nothing.features_of_many(columns({})[0], use_history=use_history)) == 0
        with pytest.raises(InvariantError, match="no station 0 in the catalogue of 0"):
            nothing.features_of_many(observed([{}]), use_history=use_history)
        with pytest.raises(InvariantError, match="a row of an unknown station was asked for"):
            nothing.features_of_many(columns({})[0], (np.zeros(1, int), np.full(1, TODAY)), use_history=use_history)


def test_a_request_changes_nothing_that_is_stored() -> None:
    observations = stored()
    rows = recent(observations)
    key = (0, TODAY)
    before = rows.features_of_one(*key, {}, use_history=True)
    others = [SentDay(s, d, dict.fromkeys(NAMES, 3.0)) for s in range(5) for d in (TODAY, TODAY - 1) if (s, d) != key]
    rows.features_of_one(*key, dict.fromkeys(NAMES, 2.0), use_history=True, others=others)
    rows.features_of_many(random_observations(3, 8, TODAY - 5, TODAY), use_history=True)
    assert same_bits(rows.features_of_one(*key, {}, use_history=True), before)


def test_a_station_day_sent_twice_is_refused() -> None:
    rows = recent(stored())
    with pytest.raises(InvariantError, match="sent twice"):
        rows.features_of_one(0, TODAY, {}, use_history=True, others=[SentDay(0, TODAY, {})])
    with pytest.raises(InvariantError, match="one row per station and day"):
        rows.features_of_many(observed([{"day": TODAY}, {"day": TODAY}]), use_history=True)


@pytest.mark.parametrize("station", [-1, len(GRID)])
def test_a_station_outside_the_catalogue_is_refused(station: int) -> None:
    rows = recent(stored())
    with pytest.raises(InvariantError, match=f"no station {station} in the catalogue"):
        rows.features_of_one(station, TODAY, {}, use_history=True)
    with pytest.raises(InvariantError, match=f"no station {station} in the catalogue"):
        rows.features_of_one(0, TODAY, {}, use_history=True, others=[SentDay(station, TODAY, {})])
    with pytest.raises(InvariantError, match=f"no station {station} in the catalogue"):
        rows.features_of_many(observed([{"station_index": station}]), use_history=False)


def test_a_field_that_is_not_observed_is_refused_by_name() -> None:
    rows = recent(stored())
    with pytest.raises(InvariantError, match="'risk_mm'"):
        rows.features_of_one(0, TODAY, {"risk_mm": 1.0}, use_history=True)
    with pytest.raises(InvariantError, match="'risk_mm'"):
        rows.features_of_many({**observed([{}]), "risk_mm": np.zeros(1)}, use_history=True)
