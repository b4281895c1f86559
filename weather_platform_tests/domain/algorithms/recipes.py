"""Every algorithm on every task it does, on a small world; a fraction of a second each."""

from functools import cache
from typing import Any

import numpy as np

from weather_platform.domain.algorithms import ALGORITHMS, FitRows, FittedModel, Params
from weather_platform.domain.targets import Task
from weather_platform.domain.training import labelled
from weather_platform_tests.domain.learning import small_data, small_split

CASES: list[tuple[str, Task]] = [(name, task) for name, each in ALGORITHMS.items() for task in sorted(each.tasks)]
SKLEARN = [case for case in CASES if "scikit-learn" in ALGORITHMS[case[0]].libraries]

SMALL: dict[str, Params] = {
    "xgboost": {"n_estimators": 20, "eta": 0.2, "max_depth": 3},
    "decision_tree": {"max_features": 0.7},
    "random_forest": {"n_estimators": 12, "max_features": 0.5},
    "hist_gradient_boosting": {"max_iterations": 20, "learning_rate": 0.2, "max_features": 0.7},
}


@cache
def rows(task: Task, seed: int = 0) -> FitRows:
    """Labels of rain, or a value that follows humidity and pressure."""
    data = small_data(seed=seed)
    parts = labelled(small_split().parts(data.day), data.labels)
    humidity, pressure = np.nan_to_num(data.values[:, 1]), np.nan_to_num(data.values[:, 2])
    value = (20 + 4 * humidity - pressure + 0 * data.labels).astype(np.float32)
    labels = data.labels if task == "classification" else value
    return FitRows(data.values, labels, data.feature_names, parts.train, parts.validation)


@cache
def fitted(name: str, task: Task, seed: int = 1, threads: int = 1) -> FittedModel:
    """A small model of this algorithm."""
    return fit(name, rows(task), task, seed, threads)


def fit(name: str, given: FitRows, task: Task, seed: int = 1, threads: int = 1) -> FittedModel:
    """The same, of other rows."""
    algorithm = ALGORITHMS[name]
    return algorithm.fit(given, task, algorithm.resolve(SMALL.get(name, {})), seed, threads)


def estimator_of(model: FittedModel) -> Any:
    """The estimator of scikit-learn in a model's file, as skops makes it."""
    import skops.io  # here: it takes seconds, and every worker reads this file to know its tests

    data = model.to_bytes()
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
