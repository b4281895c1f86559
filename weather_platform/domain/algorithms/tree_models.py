"""One decision tree, and a random forest of them. Missing values take the side that serves a split best.

A forest adds its trees up in their own order: scikit-learn adds them as its threads finish, which gives other
bits from one time to the next.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from weather_platform.domain.algorithms.estimators import LIBRARIES, EstimatorModel, Floats, loaded, named, whole
from weather_platform.domain.algorithms.skops_files import FILE_NAME
from weather_platform.domain.algorithms.spec import Algorithm, FitRows, FloatMatrix, Parameter, Params
from weather_platform.domain.targets import Task

_TREE_CLASSES: Mapping[Task, str] = {
    "classification": "DecisionTreeClassifier",
    "regression": "DecisionTreeRegressor",
}
_FOREST_CLASSES: Mapping[Task, str] = {
    "classification": "RandomForestClassifier",
    "regression": "RandomForestRegressor",
}
_TREE_TYPES = frozenset(
    {"sklearn.tree._tree.Tree"} | {f"sklearn.tree._classes.{name}" for name in _TREE_CLASSES.values()}
)
_FOREST_TYPES = _TREE_TYPES | {f"sklearn.ensemble._forest.{name}" for name in _FOREST_CLASSES.values()}
_CRITERIA: Mapping[Task, str] = {"classification": "log_loss", "regression": "squared_error"}


class TreeModel(EstimatorModel):
    """A decision tree or a forest."""

    @property
    def _trees(self) -> list[Any]:
        return [each.tree_ for each in getattr(self.estimator, "estimators_", [self.estimator])]

    @property
    def notes(self) -> Mapping[str, int]:
        return {"trees": len(self._trees), "leaves": sum(int(tree.n_leaves) for tree in self._trees)}

    def predict_slice(self, values: FloatMatrix) -> Floats:
        # Of a leaf: the share of each class, the last being rain; or the one value.
        total = np.zeros(len(values))
        for tree in self._trees:
            total += tree.predict(values)[:, -1]
        return total / len(self._trees)

    def feature_weights(self) -> Floats:
        return np.asarray(self.estimator.feature_importances_)


def _fit_tree(rows: FitRows, task: Task, params: Params, seed: int, threads: int) -> TreeModel:
    from sklearn import tree

    estimator = getattr(tree, _TREE_CLASSES[task])(
        criterion=_CRITERIA[task],
        max_depth=whole(params, "max_depth"),
        min_samples_leaf=whole(params, "min_samples_leaf"),
        max_features=params["max_features"],
        random_state=seed,
    )
    estimator.fit(rows.values[rows.train], rows.labels[rows.train])
    return TreeModel(named(estimator, rows), task, threads)


def _fit_forest(rows: FitRows, task: Task, params: Params, seed: int, threads: int) -> TreeModel:
    from sklearn import ensemble

    forest = getattr(ensemble, _FOREST_CLASSES[task])(
        n_estimators=whole(params, "n_estimators"),
        criterion=_CRITERIA[task],
        max_depth=whole(params, "max_depth"),
        min_samples_leaf=whole(params, "min_samples_leaf"),
        max_features=params["max_features"],
        max_samples=params["max_samples"],
        n_jobs=threads,
        random_state=seed,
    )
    forest.fit(rows.values[rows.train], rows.labels[rows.train])
    return TreeModel(named(forest, rows), task, threads)


def _load_tree(data: bytes, task: Task, threads: int) -> TreeModel:
    return TreeModel(loaded(data, _TREE_TYPES, _TREE_CLASSES, task), task, threads)


def _load_forest(data: bytes, task: Task, threads: int) -> TreeModel:
    return TreeModel(loaded(data, _FOREST_TYPES, _FOREST_CLASSES, task), task, threads)


DECISION_TREE = Algorithm(
    name="decision_tree",
    title="Decision tree",
    description="One tree that can be read; missing values take the side that serves a split best.",
    tasks=frozenset({"classification", "regression"}),
    parameters=(
        Parameter("max_depth", 10, 1, 64, "Depth of the tree"),
        Parameter("min_samples_leaf", 100, 1, 1_000_000, "Least training rows in a leaf"),
        Parameter("max_features", 0.3, 0.01, 1.0, "Share of features drawn for each split"),
    ),
    importance_measure="impurity decrease",
    file_name=FILE_NAME,
    libraries=LIBRARIES,
    fit=_fit_tree,
    load=_load_tree,
    quick={"max_features": 0.1},
)

RANDOM_FOREST = Algorithm(
    name="random_forest",
    title="Random forest",
    description="The mean of many trees, each grown from a share of the rows; missing values as in a single tree.",
    tasks=frozenset({"classification", "regression"}),
    parameters=(
        Parameter("n_estimators", 60, 1, 5_000, "Trees"),
        Parameter("max_depth", 20, 1, 64, "Depth of a tree"),
        Parameter("min_samples_leaf", 10, 1, 1_000_000, "Least drawn rows in a leaf"),
        Parameter("max_samples", 0.3, 0.01, 1.0, "Share of training rows drawn for each tree"),
        Parameter("max_features", 0.1, 0.01, 1.0, "Share of features drawn for each split"),
    ),
    importance_measure="impurity decrease",
    file_name=FILE_NAME,
    libraries=LIBRARIES,
    fit=_fit_forest,
    load=_load_forest,
    quick={"n_estimators": 15, "max_depth": 12, "max_samples": 0.2},
)
