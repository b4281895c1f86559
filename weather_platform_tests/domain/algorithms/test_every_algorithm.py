"""What holds of every algorithm and task: bits, bytes, files, and which rows may be looked at."""

import subprocess
import sys
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weather_platform.domain.algorithms import ALGORITHMS, FitRows
from weather_platform.domain.targets import Task
from weather_platform.domain.training import sha256
from weather_platform.errors import InvariantError, RegistryError
from weather_platform_tests.domain.algorithms.recipes import CASES, SKLEARN, estimator_of, fit, fitted, rows
from weather_platform_tests.domain.learning import NAMES

every = pytest.mark.parametrize(("name", "task"), CASES)
CELL = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6, width=32))


@every
def test_a_row_has_the_same_bits_alone_as_among_many_with_any_threads_and_after_loading(name: str, task: Task) -> None:
    model = fitted(name, task)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50_000, len(NAMES))).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    many = model.predict_raw(values)
    assert many.dtype == np.float64
    assert np.isfinite(many).all()
    for threads in (1, 2):
        again = ALGORITHMS[name].load(model.to_bytes(), task, threads)
        np.testing.assert_array_equal(again.predict_raw(values), many)
        alone = np.concatenate([again.predict_raw(values[i : i + 1]) for i in range(300)])
        np.testing.assert_array_equal(alone, many[:300])
    for size in (2, 7, 63, 64, 65, 1000, 16_383, 16_385):
        np.testing.assert_array_equal(model.predict_raw(values[-size:]), many[-size:])
    np.testing.assert_array_equal(model.predict_raw(np.asfortranarray(values[:5000])), many[:5000])
    np.testing.assert_array_equal(model.predict_raw(values[:9000:3]), many[:9000:3])
    assert model.predict_raw(values[:0]).shape == (0,)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(CASES), arrays(np.float32, st.tuples(st.integers(1, 40), st.just(len(NAMES))), elements=CELL))
def test_whatever_stands_in_other_rows_changes_no_bit_of_a_row(case: tuple[str, Task], values: np.ndarray) -> None:
    model = fitted(*case)
    together = model.predict_raw(values)
    alone = [model.predict_raw(values[i : i + 1])[0] for i in range(len(values))]
    np.testing.assert_array_equal(together, alone)
    assert np.isfinite(together).all()


@every
def test_a_model_comes_back_from_its_bytes_the_same(name: str, task: Task) -> None:
    model = fitted(name, task)
    back = ALGORITHMS[name].load(model.to_bytes(), task, 1)
    assert back.to_bytes() == model.to_bytes()
    assert back.feature_names == NAMES
    assert (back.notes, back.importance()) == (model.notes, model.importance())


@every
def test_fitting_twice_gives_the_same_bytes(name: str, task: Task) -> None:
    assert fit(name, rows(task), task).to_bytes() == fitted(name, task).to_bytes()


def test_another_process_makes_the_same_bytes() -> None:
    program = (
        "from weather_platform.domain.training import sha256\n"
        "from weather_platform_tests.domain.algorithms.recipes import CASES, fitted\n"
        "filler = [object() for _ in range(100_000)]  # so that memory lies elsewhere\n"
        "for name, task in reversed(CASES): print(name, task, sha256(fitted(name, task).to_bytes()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    here = {f"{name} {task} {sha256(fitted(name, task).to_bytes())}" for name, task in CASES}
    assert set(done.stdout.splitlines()) == here


@every
def test_rows_outside_training_and_validation_do_not_change_a_byte(name: str, task: Task) -> None:
    seen = rows(task)
    assert seen.validation is not None
    other = ~(seen.train | seen.validation)
    values, labels = seen.values.copy(), seen.labels.copy()
    values[other], labels[other] = 1e6, 1
    changed = replace(seen, values=values, labels=labels)
    assert fit(name, changed, task).to_bytes() == fitted(name, task).to_bytes()
    labels[np.flatnonzero(seen.train)[:200]] = 1
    assert fit(name, changed, task).to_bytes() != fitted(name, task).to_bytes()


@every
def test_a_model_finds_what_matters_and_says_so_in_shares(name: str, task: Task) -> None:
    model, seen = fitted(name, task), rows(task)
    shares = model.importance()
    assert tuple(shares) == NAMES
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.__getitem__) == "humidity_3pm_pct"
    assert all(isinstance(value, int) for value in model.notes.values())
    assert np.corrcoef(model.predict_raw(seen.values[seen.validation]), seen.labels[seen.validation])[0, 1] > 0.4


@every
def test_values_of_a_column_that_training_never_saw_missing_may_be_missing(name: str, task: Task) -> None:
    seen = rows(task)
    whole = replace(seen, values=np.nan_to_num(seen.values))
    model = fit(name, whole, task)
    assert np.isfinite(model.predict_raw(np.full((3, len(NAMES)), np.nan, np.float32))).all()


@every
def test_a_column_that_training_only_saw_missing_harms_nothing(name: str, task: Task) -> None:
    seen = rows(task)
    values = seen.values.copy()
    values[:, -1] = np.nan
    model = fit(name, replace(seen, values=values), task)
    assert np.isfinite(model.predict_raw(seen.values)).all()
    assert model.importance()["noise"] == 0


@every
def test_rows_of_another_shape_or_type_are_refused(name: str, task: Task) -> None:
    for wrong in (np.zeros((3, 4), np.float32), np.zeros((3, 5)), np.zeros(5, np.float32)):
        with pytest.raises(InvariantError, match="float32 rows of 5 features"):
            fitted(name, task).predict_raw(wrong)  # type: ignore[arg-type]


@every
def test_bytes_that_are_no_model_are_refused(name: str, task: Task) -> None:
    whole = fitted(name, task).to_bytes()
    for data in (b"", b"junk", b"\x80\x04K\x01.", b"PK\x05\x06" + bytes(18), whole[: len(whole) // 2], whole[:-1]):
        with pytest.raises(RegistryError) as refused:
            ALGORITHMS[name].load(data, task, 1)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "task"), SKLEARN)
def test_forecasts_are_those_of_scikit_learn(name: str, task: Task) -> None:
    model, values = fitted(name, task), rows(task).values[:2000]
    estimator = estimator_of(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # rows without names
        theirs = estimator.predict_proba(values)[:, 1] if task == "classification" else estimator.predict(values)
    np.testing.assert_allclose(model.predict_raw(values), theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "task", "times"),
    [
        # One table in double precision, with a column more for each feature that has gaps.
        ("logistic_regression", "classification", 4.7),
        ("linear_regression", "regression", 4.7),
        # One table in double precision, the validation rows in another, and the bins.
        ("hist_gradient_boosting", "classification", 4.2),
        ("hist_gradient_boosting", "regression", 4.2),
    ],
)
def test_fitting_holds_a_few_times_its_training_rows_at_most(name: str, task: Task, times: float) -> None:
    rng = np.random.default_rng(5)
    values = rng.standard_normal((24_000, 100), dtype=np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    labels = (rng.random(len(values)) < 0.3).astype(np.float32)
    train = np.arange(len(values)) < 20_000
    given = FitRows(values, labels, tuple(f"feature_{number}" for number in range(100)), train, ~train)
    fit(name, replace(given, train=train & (np.arange(len(values)) < 500)), task)  # imports are not of the rows
    tracemalloc.start()
    try:
        fit(name, given, task)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < times * values[train].nbytes


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_boosting_stops_early_on_the_validation_rows_and_keeps_the_best_trees(task: Task) -> None:
    boosting, seen = ALGORITHMS["hist_gradient_boosting"], rows(task)
    params = boosting.resolve({"max_iterations": 300, "learning_rate": 0.5, "early_stopping_rounds": 5})
    stopped = boosting.fit(seen, task, params, 1, 1)
    assert 1 < stopped.notes["trees"] < 300
    labels = seen.labels.copy()
    labels[seen.validation] = np.random.default_rng(0).permutation(labels[seen.validation])
    misled = boosting.fit(replace(seen, labels=labels), task, params, 1, 1)
    assert misled.notes["trees"] < stopped.notes["trees"]
