"""Trees as arrays against the library they come from: the same bits, or not used at all."""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from weather_platform.domain.algorithms import xgboost_trees
from weather_platform.domain.algorithms.flat_trees import FEW_ROWS, FlatTrees, trusted
from weather_platform.domain.algorithms.histogram_boosting import HistogramModel
from weather_platform.domain.algorithms.ubjson import read_ubjson
from weather_platform.domain.algorithms.xgboost_trees import XGBoostModel, flat_trees
from weather_platform.domain.targets import Task
from weather_platform_tests.domain.algorithms.recipes import fitted
from weather_platform_tests.domain.learning import NAMES

FEATURES = 6
TASKS: tuple[Task, ...] = ("classification", "regression")
OBJECTIVES = {"classification": "binary:logistic", "regression": "reg:squarederror"}


def learned(**params: Any) -> Any:
    """A booster of sixty trees on rows of which some values are missing."""
    import xgboost

    rng = np.random.default_rng(3)
    values = rng.normal(size=(3000, FEATURES)).astype(np.float32)
    values[rng.random(values.shape) < 0.15] = np.nan
    known = np.nan_to_num(values)
    drawn = 20 + 3 * known[:, 0] - 2 * known[:, 1] * known[:, 2] + rng.normal(size=len(values))
    steps = {"binary:logistic": [22], "multi:softprob": [18, 22]}.get(params["objective"])
    labels = drawn if steps is None else np.digitize(drawn, steps)
    table = xgboost.DMatrix(values, labels, feature_names=[f"f{j}" for j in range(FEATURES)])
    return xgboost.train({"nthread": 1, "max_depth": 6, "seed": 1, **params}, table, num_boost_round=60)


@cache
def booster_of(task: Task) -> Any:
    return learned(objective=OBJECTIVES[task])


@cache
def flat_of(task: Task) -> FlatTrees:
    flat = flat_trees(booster_of(task))
    assert flat is not None
    return flat


def margins(booster: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(booster.inplace_predict(np.ascontiguousarray(values), predict_type="margin"))


def same_bits(left: NDArray[np.float32], right: NDArray[np.float32]) -> bool:
    return np.array_equal(left.view(np.int32), right.view(np.int32))


@settings(max_examples=200, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, FEW_ROWS), st.just(FEATURES)),
        elements=st.one_of(st.floats(-4, 4, width=32), st.floats(width=32, allow_infinity=False)),
    ),
)
def test_any_rows_have_the_bits_of_xgboost(task: Task, values: NDArray[np.float32]) -> None:
    assert same_bits(flat_of(task).margins(values), margins(booster_of(task), values))


@pytest.mark.parametrize("task", TASKS)
def test_rows_at_every_split_and_beside_it_have_the_bits_of_xgboost(task: Task) -> None:
    flat = flat_of(task)
    split = flat.slot < 2 * FEATURES
    at = flat.threshold[split]
    rows = np.random.default_rng(0).normal(size=(3 * len(at), FEATURES)).astype(np.float32)
    feature = np.tile(flat.slot[split] % FEATURES, 3)
    rows[np.arange(len(rows)), feature] = np.concatenate(
        [at, np.nextafter(at, np.float32(-9)), np.nextafter(at, np.float32(9))]
    )
    expected = margins(booster_of(task), rows)
    for start in range(0, len(rows), FEW_ROWS):
        here = slice(start, start + FEW_ROWS)
        assert same_bits(flat.margins(rows[here]), expected[here])


@pytest.mark.parametrize("task", TASKS)
def test_a_model_gives_the_same_bits_on_both_sides_of_few_rows(task: Task) -> None:
    model = XGBoostModel(booster_of(task), task)
    values = np.random.default_rng(2).normal(size=(4 * FEW_ROWS, FEATURES)).astype(np.float32)
    values[values < -1] = np.nan
    whole = model.predict_raw(values)
    for count in (1, 2, FEW_ROWS - 1, FEW_ROWS, FEW_ROWS + 1):
        assert np.array_equal(model.predict_raw(values[:count]), whole[:count])


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "multi:softprob", "num_class": 3},
        {"objective": "reg:squarederror", "booster": "dart", "rate_drop": 0.3},
        {"objective": "reg:squarederror", "booster": "gblinear"},
        {"objective": "count:poisson"},
    ],
    ids=["classes", "dart", "linear", "another link"],
)
def test_a_booster_of_another_kind_is_left_to_xgboost(params: dict[str, Any]) -> None:
    assert flat_trees(learned(**params)) is None


def test_a_booster_with_categories_is_left_to_xgboost() -> None:
    import xgboost

    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, size=(500, 2)).astype(np.float32)
    table = xgboost.DMatrix(
        values, (values[:, 0] % 3 == 1).astype(np.float32), feature_types=["c", "q"], enable_categorical=True
    )
    assert flat_trees(xgboost.train({"nthread": 1}, table, num_boost_round=3)) is None


@pytest.mark.parametrize("task", TASKS)
def test_arrays_that_say_anything_else_than_xgboost_are_not_used(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    booster = booster_of(task)
    model = XGBoostModel(booster, task)
    values = np.zeros((1, FEATURES), dtype=np.float32)
    expected = model.predict_raw(values)
    base = flat_of(task).base
    monkeypatch.setattr(xgboost_trees, "_bases", lambda _: [np.nextafter(base, np.float32(np.inf))])
    assert flat_trees(booster) is None
    assert np.array_equal(XGBoostModel(booster, task).predict_raw(values), expected)


def histogram(task: Task) -> HistogramModel:
    model = fitted("hist_gradient_boosting", task)
    assert isinstance(model, HistogramModel)
    return model


def histogram_flat(task: Task) -> FlatTrees:
    flat = histogram(task)._flat
    assert flat is not None
    return flat


@settings(max_examples=100, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    values=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, FEW_ROWS), st.just(len(NAMES))),
        elements=st.one_of(st.floats(-4, 4, width=32), st.floats(width=32)),
    ),
)
def test_any_few_rows_of_scikit_learns_boosting_have_the_bits_of_its_trees(
    task: Task, values: NDArray[np.float32]
) -> None:
    model = histogram(task)
    assert model._raw(values).tobytes() == model._said(values).tobytes()
    if not np.isinf(values).any():
        assert histogram_flat(task).margins(values).tobytes() == model._said(values).tobytes()


@pytest.mark.parametrize("task", TASKS)
def test_rows_at_every_split_of_scikit_learns_boosting_have_the_bits_of_its_trees(task: Task) -> None:
    model, flat = histogram(task), histogram_flat(task)
    split = (flat.slot < 2 * len(NAMES)) & np.isfinite(flat.threshold)
    at = np.nextafter(flat.threshold[split], -np.inf).astype(np.float32)
    rows = np.random.default_rng(0).normal(size=(3 * len(at), len(NAMES))).astype(np.float32)
    rows[np.arange(len(rows)), np.tile(flat.slot[split] % len(NAMES), 3)] = np.concatenate(
        [at, np.nextafter(at, np.float32(-9)), np.nextafter(at, np.float32(9))]
    )
    assert flat.margins(rows).tobytes() == model._said(rows).tobytes()


def test_arrays_that_say_anything_else_than_scikit_learn_are_not_used() -> None:
    model = histogram("regression")
    flat = histogram_flat("regression")
    assert trusted([flat], model._said) is flat
    assert trusted([replace(flat, base=np.nextafter(flat.base, 99))], model._said) is None
    assert trusted([replace(flat, base=np.nextafter(flat.base, 99)), flat], model._said) is flat


@pytest.mark.parametrize("task", TASKS)
def test_a_model_file_reads_as_its_json(task: Task) -> None:
    booster = booster_of(task)

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [float(x) if value.dtype == np.float32 else int(x) for x in value]
        if isinstance(value, list):
            return [plain(each) for each in value]
        return {name: plain(each) for name, each in value.items()} if isinstance(value, dict) else value

    def floats(value: Any) -> Any:
        """JSON spells a float32 with few digits; read as float32 it is the same one."""
        if isinstance(value, float):
            return float(np.float32(value))
        if isinstance(value, list):
            return [floats(each) for each in value]
        return {name: floats(each) for name, each in value.items()} if isinstance(value, dict) else value

    read = plain(read_ubjson(bytes(booster.save_raw(raw_format="ubj"))))
    assert floats(read) == floats(json.loads(bytes(booster.save_raw(raw_format="json"))))


def test_ubjson_has_constants_long_numbers_and_open_arrays() -> None:
    assert read_ubjson(b"{i\x01a[ZTFi\xffU\xffI\x01\x00L\x00\x00\x00\x01\x00\x00\x00\x00]}") == {
        "a": [None, True, False, -1, 255, 256, 1 << 32]
    }


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[$d#i\x05\x00", b"?", b"Si\x05ab", b"Z?", b"{i\x01\xffZ}", b"[$?#i\x01\x00"]
)
def test_bytes_that_are_no_ubjson_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="UBJSON"):
        read_ubjson(data)
