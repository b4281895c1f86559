"""Masks: what is in force after which events, and what they blank, in batch and in what a request sends."""

from datetime import date

import numpy as np
import pytest

from weather_platform.domain.features import HISTORY_DAYS, build_features
from weather_platform.domain.live import RecentObservations, SentDay
from weather_platform.domain.masks import MaskEvent, StationMask, in_force, masked
from weather_platform.domain.splits import day_date
from weather_platform_tests.domain.test_features import TODAY, same_bits
from weather_platform_tests.domain.test_live import DAYS, FIRST, GRID, NAMES, WEIGHTS, stored

STATION = 2
FROM = TODAY - 5
MASK = StationMask(GRID.ids[STATION], "pressure_3pm_hpa", day_date(FROM), None)


def test_ending_a_mask_leaves_the_others_and_setting_it_again_brings_it_back() -> None:
    other = StationMask("b", "temp_3pm_c", date(2015, 1, 1), date(2015, 2, 1))
    events = [MaskEvent(MASK, True), MaskEvent(other, True), MaskEvent(MASK, False)]
    assert in_force(events) == (other,)
    assert set(in_force([*events, MaskEvent(MASK, True)])) == {MASK, other}
    assert in_force([]) == ()


def test_only_the_column_of_the_station_on_its_days_is_missing_and_what_was_given_stays() -> None:
    rows = stored()
    before = {name: values.copy() for name, values in rows.items()}
    blank = masked(rows, GRID, [MASK])
    covered = (rows["station_index"] == STATION) & (rows["day"] >= FROM)
    assert np.isnan(blank["pressure_3pm_hpa"][covered]).all()
    assert same_bits(blank["pressure_3pm_hpa"][~covered], rows["pressure_3pm_hpa"][~covered])
    assert all(blank[name] is rows[name] for name in NAMES if name != "pressure_3pm_hpa")
    assert all(same_bits(rows[name], before[name]) for name in NAMES), "what was given is not changed"


def test_a_mask_ends_on_its_last_day_and_rain_takes_the_flag_with_it() -> None:
    rows = stored()
    mask = StationMask(GRID.ids[STATION], "rainfall_mm", day_date(FROM), day_date(FROM))
    blank = masked(rows, GRID, [mask])
    here = rows["station_index"] == STATION
    for name in ("rainfall_mm", "rain_today"):
        assert np.isnan(blank[name][here & (rows["day"] == FROM)]).all()
        assert same_bits(blank[name][here & (rows["day"] != FROM)], rows[name][here & (rows["day"] != FROM)])


def test_a_mask_of_a_station_that_is_not_in_the_catalogue_covers_nothing() -> None:
    rows = stored()
    blank = masked(rows, GRID, [StationMask("gone", "temp_3pm_c", date(1990, 1, 1), None)])
    assert all(blank[name] is rows[name] for name in NAMES)


@pytest.mark.parametrize("use_history", [True, False])
def test_what_a_request_sends_of_a_masked_column_is_missing_as_in_the_batch(use_history: bool) -> None:
    rows = stored()
    recent = RecentObservations(rows, GRID, first_day=FIRST, last_day=TODAY, masks=(MASK,))
    bare = RecentObservations(rows, GRID, first_day=FIRST, last_day=TODAY)
    sent = {"pressure_3pm_hpa": 1031.0, "temp_3pm_c": 21.0}
    without = {**sent, "pressure_3pm_hpa": np.nan}
    one = recent.features_of_one(STATION, TODAY, sent, use_history=use_history)
    assert same_bits(one, recent.features_of_one(STATION, TODAY, without, use_history=use_history))
    assert not same_bits(one, bare.features_of_one(STATION, TODAY, sent, use_history=use_history))
    arrays = {"station_index": np.array([STATION]), "day": np.array([TODAY])}
    arrays |= {name: np.array([number]) for name, number in sent.items()}
    assert same_bits(recent.features_of_many(arrays, use_history=use_history).values, one)
    near = SentDay(STATION, TODAY, sent)
    with_other = recent.features_of_one(0, TODAY, {"temp_3pm_c": 20.0}, use_history=use_history, others=[near])
    blank = SentDay(STATION, TODAY, without)
    assert same_bits(
        with_other, recent.features_of_one(0, TODAY, {"temp_3pm_c": 20.0}, use_history=use_history, others=[blank])
    )


def test_stored_days_give_the_bits_of_the_masked_batch_one_by_one() -> None:
    rows = stored()
    batch = build_features(masked(rows, GRID, [MASK]), GRID, WEIGHTS, first_day=FIRST, last_day=TODAY)
    recent = RecentObservations(rows, GRID, first_day=FIRST, last_day=TODAY, masks=(MASK,))
    assert len(batch) > DAYS
    for at in range(len(batch)):
        one = recent.features_of_one(int(batch.station_index[at]), int(batch.day[at]), {}, use_history=True)
        assert same_bits(one[0], batch.values[at])
    open_days = build_features(rows, GRID, WEIGHTS, first_day=FIRST, last_day=TODAY)
    early = batch.day < FROM
    assert same_bits(batch.values[early], open_days.values[early])
    assert not same_bits(batch.values, open_days.values)
    assert HISTORY_DAYS > 0
