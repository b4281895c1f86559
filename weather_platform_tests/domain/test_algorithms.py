from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from weather_platform.domain.algorithms import (
    ALGORITHMS,
    BASELINES,
    CLIMATOLOGY_PRIOR_ROWS,
    BaselineRows,
    FitRows,
    FittedModel,
    xgboost_trees,
)
from weather_platform.domain.splits import day_number
from weather_platform.domain.training import labelled
from weather_platform.errors import InvariantError, RegistryError
from weather_platform_tests.domain.learning import FIRST, small_data, small_split

XGBOOST = ALGORITHMS["xgboost"]
SMALL = XGBOOST.resolve({"n_estimators": 40, "eta": 0.2, "max_depth": 4, "early_stopping_rounds": 5})


def _rows(seed: int = 0) -> FitRows:
    data = small_data(seed=seed)
    parts = labelled(small_split().parts(data.day), data.labels)
    return FitRows(data.values, data.labels, data.feature_names, parts.train, parts.validation)


@pytest.fixture(scope="module")
def rows() -> FitRows:
    return _rows()


@pytest.fixture(scope="module")
def model(rows: FitRows) -> FittedModel:
    return XGBOOST.fit(rows, "classification", SMALL, 1, 1)


def test_a_prediction_has_the_same_bits_alone_in_any_batch_and_with_any_threads(model: FittedModel) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1_000_000, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    many = model.predict_raw(values)
    assert many.dtype == np.float64
    alone = np.concatenate([model.predict_raw(values[i : i + 1]) for i in range(500)])
    np.testing.assert_array_equal(alone, many[:500])
    for size in (2, 7, 63, 64, 65, 1000, 65_537):
        np.testing.assert_array_equal(model.predict_raw(values[-size:]), many[-size:])
    two = XGBOOST.load(model.to_bytes(), "classification", 2)
    np.testing.assert_array_equal(two.predict_raw(values), many)
    np.testing.assert_array_equal(model.predict_raw(np.asfortranarray(values[:5000])), many[:5000])
    np.testing.assert_array_equal(model.predict_raw(values[:9000:3]), many[:9000:3])
    assert model.predict_raw(values[:0]).shape == (0,)


def test_a_model_comes_back_from_its_bytes_the_same(model: FittedModel, rows: FitRows) -> None:
    back = XGBOOST.load(model.to_bytes(), "classification", 1)
    assert back.to_bytes() == model.to_bytes()
    assert back.feature_names == rows.feature_names
    assert back.notes == model.notes
    np.testing.assert_array_equal(back.predict_raw(rows.values), model.predict_raw(rows.values))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(model: FittedModel, rows: FitRows) -> None:
    assert XGBOOST.fit(rows, "classification", SMALL, 1, 1).to_bytes() == model.to_bytes()
    assert XGBOOST.fit(rows, "classification", SMALL, 2, 1).to_bytes() != model.to_bytes()


def test_rows_outside_training_and_validation_do_not_change_a_byte(model: FittedModel, rows: FitRows) -> None:
    assert rows.validation is not None
    other = ~(rows.train | rows.validation)
    values, labels = rows.values.copy(), rows.labels.copy()
    values[other], labels[other] = 1e6, 1
    changed = replace(rows, values=values, labels=labels)
    assert XGBOOST.fit(changed, "classification", SMALL, 1, 1).to_bytes() == model.to_bytes()
    labels[np.flatnonzero(rows.train)[:50]] = 1
    assert XGBOOST.fit(changed, "classification", SMALL, 1, 1).to_bytes() != model.to_bytes()


def test_rows_handed_over_in_slices_learn_as_well(
    rows: FitRows, model: FittedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xgboost_trees, "_ROWS_AT_ONCE", 500)
    sliced = XGBOOST.fit(rows, "classification", SMALL, 1, 1)
    difference = sliced.predict_raw(rows.values) - model.predict_raw(rows.values)
    assert np.abs(difference).mean() < 0.05


def test_training_stops_early_on_validation_and_keeps_the_best_trees(rows: FitRows) -> None:
    params = XGBOOST.resolve({"n_estimators": 400, "eta": 0.5, "early_stopping_rounds": 5})
    assert XGBOOST.fit(rows, "classification", params, 1, 1).notes["trees"] < 100


def test_importance_is_a_share_and_finds_what_matters(model: FittedModel) -> None:
    shares = model.importance()
    assert set(shares) == set(small_data().feature_names)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.__getitem__) == "humidity_3pm_pct"


def test_rows_of_another_shape_or_type_are_refused(model: FittedModel) -> None:
    wrong: list[Any] = [np.zeros((3, 4), np.float32), np.zeros((3, 5)), np.zeros(5, np.float32)]
    for values in wrong:
        with pytest.raises(InvariantError, match="float32 rows of 5 features"):
            model.predict_raw(values)


@pytest.mark.parametrize("data", [b"", b"junk", b"\x80\x04K\x01.", b"{}", b'{"learner": {}}'])
def test_bytes_that_are_no_model_are_refused(data: bytes) -> None:
    with pytest.raises(RegistryError):
        XGBOOST.load(data, "classification", 1)


def test_parameters_have_bounds_and_whole_numbers_stay_whole() -> None:
    found = XGBOOST.resolve({"max_depth": 3.0, "eta": 1})
    assert (found["max_depth"], type(found["max_depth"]), type(found["eta"])) == (3, int, float)
    assert XGBOOST.resolve({}) == XGBOOST.defaults()
    for wrong, sentence in (
        ({"depth": 3}, "no parameter 'depth'"),
        ({"max_depth": 2.5}, "whole number"),
        ({"eta": 0}, "between"),
        ({"eta": float("nan")}, "between"),
        ({"subsample": 1.5}, "between"),
    ):
        with pytest.raises(InvariantError, match=sentence):
            XGBOOST.resolve(wrong)


def test_every_default_lies_within_its_bounds() -> None:
    for name, algorithm in ALGORITHMS.items():
        assert algorithm.name == name
        for parameter in algorithm.parameters:
            assert parameter.low <= parameter.default <= parameter.high
            assert parameter.description


def _baseline_rows(station: list[int], month: list[int], today: list[float]) -> BaselineRows:
    return BaselineRows(np.array(station, np.int32), np.array(month), np.array(today, np.float32))


def test_persistence_is_how_often_it_rained_after_a_dry_a_wet_and_an_unknown_day() -> None:
    seen = _baseline_rows([0] * 8, [0] * 8, [0, 0, 0, 0, 1, 1, np.nan, np.nan])
    fitted = BASELINES["persistence"].fit(seen, np.array([0, 0, 0, 1, 1, 0, 1, 1], np.float32), "classification")
    asked = _baseline_rows([0, 5, -1], [3, 3, 3], [0, 1, np.nan])
    assert fitted.predict(asked).tolist() == [0.25, 0.5, 1.0]


def test_persistence_that_never_saw_an_unknown_day_takes_the_mean() -> None:
    fitted = BASELINES["persistence"].fit(
        _baseline_rows([0, 0], [0, 0], [0, 1]), np.array([0, 1], np.float32), "classification"
    )
    assert fitted.predict(_baseline_rows([0], [0], [np.nan])).tolist() == [0.5]


def test_climatology_is_a_stations_own_month_drawn_towards_all_stations() -> None:
    seen = _baseline_rows([0] * 60 + [1] * 60, [6] * 120, [0.0] * 120)
    fitted = BASELINES["climatology"].fit(seen, np.array([1] * 60 + [0] * 60, np.float32), "classification")
    k = CLIMATOLOGY_PRIOR_ROWS
    wet, dry, unseen, unknown = fitted.predict(_baseline_rows([0, 1, 2, -1], [6] * 4, [0.0] * 4)).tolist()
    assert wet == pytest.approx((60 + k / 2) / (60 + k))
    assert dry == pytest.approx((k / 2) / (60 + k))
    assert unseen == unknown == 0.5


def test_climatology_of_a_month_that_was_never_seen_is_the_mean() -> None:
    fitted = BASELINES["climatology"].fit(
        _baseline_rows([0, 0], [1, 1], [0, 0]), np.array([0, 1], np.float32), "classification"
    )
    assert fitted.predict(_baseline_rows([0, 7], [4, 4], [0, 0])).tolist() == [0.5, 0.5]


def test_persistence_of_a_value_is_today_and_climatology_where_today_is_unknown() -> None:
    seen = _baseline_rows([0] * 60 + [1] * 60, [6] * 120, [0.0] * 120)
    labels = np.array([30] * 60 + [10] * 60, np.float32)
    asked = _baseline_rows([0, 0, 1, -1], [6] * 4, [17.5, np.nan, np.nan, np.nan])
    persistence = BASELINES["persistence"].fit(seen, labels, "regression").predict(asked)
    climatology = BASELINES["climatology"].fit(seen, labels, "regression").predict(asked)
    assert persistence.tolist() == [17.5, *climatology[1:].tolist()]
    k = CLIMATOLOGY_PRIOR_ROWS
    assert climatology[0] == pytest.approx((60 * 30 + k * 20) / (60 + k))
    assert climatology[3] == 20


def test_the_month_of_a_baseline_row_is_that_of_the_issue_day() -> None:
    day = np.array([day_number(FIRST), day_number(FIRST) - 1, day_number(FIRST) + 31, -1], np.int32)
    found = BaselineRows.of(np.zeros(4, np.int32), day, np.zeros(4, np.float32))
    assert found.month.tolist() == [0, 11, 1, 11]
    assert len(found.where(found.month == 11)) == 2
