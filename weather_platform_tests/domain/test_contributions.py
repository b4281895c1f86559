"""Contributions add up to what the model says, are those of the definition, and are refused where there are none."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import logit

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.algorithms.spec import Explained
from weather_platform.domain.algorithms.tree_shares import Tree, shapley_values
from weather_platform.domain.algorithms.ubjson import read_ubjson
from weather_platform.domain.contributions import contributions
from weather_platform.domain.outputs import OUTPUTS
from weather_platform.domain.targets import Task
from weather_platform.domain.training import Contract, Predictor, sha256
from weather_platform.errors import InvariantError, NotExactError
from weather_platform_tests.domain.algorithms.recipes import CASES, estimator_of, fitted, rows
from weather_platform_tests.domain.learning import NAMES

EXACT = [case for case in CASES if case[0] not in ("decision_tree", "random_forest")]
WITHOUT = [case for case in CASES if case not in EXACT]
UNITS: dict[Task, str] = {"classification": "log-odds", "regression": "degC"}


@cache
def predictor(name: str, task: Task) -> Predictor:
    """A small model of the algorithm as it comes back from its files."""
    given, model = rows(task), fitted(name, task)
    data = model.to_bytes()
    contract = Contract(
        target="a_target",
        task=task,
        unit="degC" if task == "regression" else "-",
        algorithm=name,
        feature_version="test",
        feature_names=NAMES,
        output=OUTPUTS[task].fit(given.labels[given.validation], model.predict_raw(given.values[given.validation])),
        tuned_through="2011-12-31",
        tested_through="2012-12-31",
        model_file=ALGORITHMS[name].file_name,
        model_sha256=sha256(data),
    )
    return Predictor.load(contract.to_bytes(), data, digest=sha256(contract.to_bytes()))


def some_rows(count: int = 40) -> NDArray[np.float32]:
    """Rows with and without missing values, one of them with none known."""
    values = rows("classification").values[:count].copy()
    values[-1] = np.nan
    assert np.isnan(values).any(axis=1).sum() > count // 4
    return values


@pytest.mark.parametrize(("name", "task"), EXACT)
def test_base_and_contributions_add_up_to_the_raw_value_of_the_model(name: str, task: Task) -> None:
    model = predictor(name, task)
    exactness = 1e-5 if name == "xgboost" else 1e-12
    for i in range(len(some_rows())):
        row = some_rows()[i : i + 1]
        found = contributions(model, row)
        assert found.unit == UNITS[task]
        assert found.of_feature.shape == (len(NAMES),)
        assert found.base + found.of_feature.sum() == pytest.approx(found.raw_value, abs=exactness)
        said = model.model.predict_raw(row)[0]
        assert found.raw_value == pytest.approx(logit(said) if task == "classification" else said, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("name", "task"), EXACT)
def test_the_base_is_the_same_for_every_row(name: str, task: Task) -> None:
    model = predictor(name, task)
    bases = {contributions(model, row[None]).base for row in some_rows()}
    assert len(bases) == 1


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_values_of_xgboost_are_those_of_our_own_paths(task: Task) -> None:
    """Two programs, one definition: this one proves the paths that scikit-learn's boosting is explained with."""
    model = predictor("xgboost", task)
    learner = read_ubjson(model.model.to_bytes())["learner"]
    for row in some_rows(12):
        expected = contributions(model, row[None])
        total = np.zeros(len(NAMES))
        for tree in learner["gradient_booster"]["model"]["trees"]:
            value = row[tree["split_indices"]]
            goes_left = np.where(np.isnan(value), tree["default_left"] == 1, value < tree["split_conditions"])
            nodes = Tree(
                tree["left_children"].astype(np.intp),
                tree["right_children"].astype(np.intp),
                tree["split_indices"].astype(np.intp),
                tree["sum_hessian"].astype(np.float64),
                tree["split_conditions"].astype(np.float64),
            )
            total += shapley_values(nodes, goes_left, len(NAMES))[1]
        assert total == pytest.approx(expected.of_feature, abs=1e-4)


@pytest.mark.parametrize("name", ["logistic_regression", "linear_regression"])
def test_a_linear_models_contribution_is_weight_times_standardised_value(name: str) -> None:
    task: Task = "classification" if name == "logistic_regression" else "regression"
    model = predictor(name, task)
    row = np.array([[1.0, -2.0, 0.5, np.nan, 3.0]], dtype=np.float32)
    pipeline = estimator_of(model.model)
    filled = pipeline["impute"].transform(row.astype(np.float64))
    terms = pipeline["scale"].transform(filled)[0] * np.ravel(pipeline["model"].coef_)
    expected = terms[: len(NAMES)].copy()
    for at, term in zip(pipeline["impute"].indicator_.features_, terms[len(NAMES) :], strict=True):
        expected[at] += term
    found = contributions(model, row)
    assert found.of_feature == pytest.approx(expected, abs=1e-12)
    assert found.base == pytest.approx(float(np.ravel(pipeline["model"].intercept_)[0]))


@pytest.mark.parametrize(("name", "task"), EXACT)
def test_the_feature_that_matters_contributes_most(name: str, task: Task) -> None:
    model = predictor(name, task)
    sizes = np.mean([np.abs(contributions(model, row[None]).of_feature) for row in some_rows(30)[:-1]], axis=0)
    assert NAMES[int(sizes.argmax())] == "humidity_3pm_pct"


@pytest.mark.parametrize(("name", "task"), WITHOUT)
def test_an_algorithm_without_exact_contributions_is_refused_by_name(name: str, task: Task) -> None:
    with pytest.raises(NotExactError, match=f"{name} has no exact contributions"):
        contributions(predictor(name, task), some_rows(20)[:1])


def test_every_algorithm_either_explains_or_does_not() -> None:
    assert {name for name, task in CASES if isinstance(fitted(name, task), Explained)} == {n for n, _ in EXACT}


def test_more_than_one_row_and_other_features_are_refused() -> None:
    model = predictor("xgboost", "classification")
    for shape in ((2, len(NAMES)), (1, len(NAMES) + 1), (0, len(NAMES))):
        with pytest.raises(InvariantError, match="one row of 5 features"):
            contributions(model, np.zeros(shape, dtype=np.float32))
