"""Histogram gradient boosting of scikit-learn, stopped by the validation rows and cut to its best iteration."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from scipy.special import expit

from weather_platform.domain.algorithms.estimators import (
    LIBRARIES,
    EstimatorModel,
    Floats,
    loaded,
    masked_rows,
    named,
    whole,
)
from weather_platform.domain.algorithms.flat_trees import FEW_ROWS, FlatTrees, Nodes, trusted
from weather_platform.domain.algorithms.skops_files import FILE_NAME
from weather_platform.domain.algorithms.spec import Algorithm, Explanation, FitRows, FloatMatrix, Parameter, Params
from weather_platform.domain.algorithms.tree_shares import Tree, shapley_values
from weather_platform.domain.targets import Task

_CLASSES: Mapping[Task, str] = {
    "classification": "HistGradientBoostingClassifier",
    "regression": "HistGradientBoostingRegressor",
}
_BOOSTING = "sklearn.ensemble._hist_gradient_boosting"
_TYPES = frozenset(
    {f"{_BOOSTING}.gradient_boosting.{name}" for name in _CLASSES.values()}
    | {f"{_BOOSTING}.binning._BinMapper", f"{_BOOSTING}.predictor.TreePredictor"}
    | {f"sklearn._loss._loss.{name}" for name in ("CyHalfBinomialLoss", "CyHalfSquaredError")}
    | {f"sklearn._loss.loss.{name}" for name in ("HalfBinomialLoss", "HalfSquaredError")}
    | {f"sklearn._loss.link.{name}" for name in ("IdentityLink", "Interval", "LogitLink")}
    | {"sklearn.preprocessing._label.LabelEncoder", "numpy.random._generator.Generator", "numpy.random.PCG64"}
)


class HistogramModel(EstimatorModel):
    """A boosting whose trees are added up in the order they were grown."""

    @property
    def notes(self) -> Mapping[str, int]:
        return {"trees": len(self.estimator._predictors)}

    def predict_slice(self, values: FloatMatrix) -> Floats:
        raw = self._raw(values)
        return np.asarray(expit(raw)) if self.task == "classification" else raw

    @property
    def _baseline(self) -> float:
        return float(self.estimator._baseline_prediction.item())

    def _raw(self, values: FloatMatrix) -> Floats:
        """The same bits from the trees as from their arrays, which know of no infinite values."""
        if len(values) <= FEW_ROWS and self._flat is not None and not np.isinf(values).any():
            return self._flat.margins(values)
        return self._said(values)

    @cached_property
    def _flat(self) -> FlatTrees | None:
        trees = [tree.nodes for (tree,) in self.estimator._predictors]
        first = np.cumsum([0, *map(len, trees)])
        nodes, offset = np.concatenate(trees), np.repeat(first[:-1], np.diff(first))
        flat = Nodes(
            roots=first[:-1],
            left=nodes["left"].astype(np.intp) + offset,
            right=nodes["right"].astype(np.intp) + offset,
            leaf=nodes["is_leaf"] == 1,
            feature=nodes["feature_idx"].astype(np.intp),
            # Here a value at the threshold goes left as well: right is whatever reaches the next number.
            threshold=np.nextafter(nodes["num_threshold"], np.inf),
            missing_left=nodes["missing_go_to_left"] == 1,
            value=nodes["value"],
        )
        return trusted([FlatTrees.of(flat, len(self.feature_names), np.float64(self._baseline))], self._said)

    def _said(self, values: FloatMatrix) -> Floats:
        rows = values.astype(np.float64)
        raw = np.full(len(rows), self._baseline)
        for (tree,) in self.estimator._predictors:
            raw += tree.predict(rows, _NO_CATEGORIES, _NO_COLUMNS, self.threads)
        return raw

    def explain(self, row: FloatMatrix) -> Explanation:
        """Shapley values; an unknown feature follows both branches by their numbers of training rows."""
        base, of_feature = self._baseline, np.zeros(len(self.feature_names))
        for (tree,) in self.estimator._predictors:
            nodes = tree.nodes
            value = row[0].astype(np.float64)[nodes["feature_idx"]]
            goes_left = np.where(np.isnan(value), nodes["missing_go_to_left"] == 1, value <= nodes["num_threshold"])
            mean, worth = shapley_values(
                Tree(
                    left=np.where(nodes["is_leaf"] == 1, -1, nodes["left"].astype(np.intp)),
                    right=nodes["right"].astype(np.intp),
                    feature=nodes["feature_idx"],
                    cover=nodes["count"].astype(np.float64),
                    value=nodes["value"],
                ),
                goes_left,
                len(of_feature),
            )
            base += mean
            of_feature += worth
        return Explanation(base, of_feature, float(self._raw(row)[0]))

    def feature_weights(self) -> Floats:
        """The gain of every split, by feature."""
        weight = np.zeros(len(self.feature_names))
        for (tree,) in self.estimator._predictors:
            splits = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(weight, splits["feature_idx"], splits["gain"])
        return weight


# No feature is a category, so no tree looks these up.
_NO_CATEGORIES = np.zeros((0, 8), dtype=np.uint32)
_NO_COLUMNS = np.zeros(0, dtype=np.uint32)


def _fit(rows: FitRows, task: Task, params: Params, seed: int, threads: int) -> HistogramModel:
    from sklearn import ensemble
    from threadpoolctl import threadpool_limits

    estimator = getattr(ensemble, _CLASSES[task])(
        max_iter=whole(params, "max_iterations"),
        n_iter_no_change=whole(params, "early_stopping_rounds"),
        learning_rate=params["learning_rate"],
        max_leaf_nodes=whole(params, "max_leaf_nodes"),
        min_samples_leaf=whole(params, "min_samples_leaf"),
        l2_regularization=params["l2_regularization"],
        max_features=params["max_features"],
        max_bins=whole(params, "max_bins"),
        early_stopping=rows.validation is not None,
        random_state=seed,
    )
    values, stopping = masked_rows(rows.values, rows.train), {}
    # A column without a single value has no bins; as a constant it is never split on.
    empty = np.isnan(values).all(axis=0)
    values[:, empty] = 0
    if rows.validation is not None:
        validation = masked_rows(rows.values, rows.validation)
        validation[:, empty] = 0
        stopping = {"X_val": validation, "y_val": rows.labels[rows.validation]}
    with threadpool_limits(threads):
        estimator.fit(values, rows.labels[rows.train], **stopping)
    if stopping:
        # The first score is that of no tree at all; one tree is kept in any case.
        best = max(int(np.argmax(estimator.validation_score_)), 1)
        del estimator._predictors[best:]
    return HistogramModel(named(estimator, rows), task, threads)


def _load(data: bytes, task: Task, threads: int) -> HistogramModel:
    return HistogramModel(loaded(data, _TYPES, _CLASSES, task), task, threads)


HIST_GRADIENT_BOOSTING = Algorithm(
    name="hist_gradient_boosting",
    title="Gradient boosted trees (scikit-learn)",
    description=(
        "Histogram gradient boosting, stopped early by the validation part; missing values take a side of their own."
    ),
    tasks=frozenset({"classification", "regression"}),
    parameters=(
        Parameter("max_iterations", 300, 1, 20_000, "Most trees; early stopping usually keeps fewer"),
        Parameter("early_stopping_rounds", 15, 1, 1000, "Rounds without a better validation loss before stopping"),
        Parameter("learning_rate", 0.1, 0.001, 1.0, "Learning rate"),
        Parameter("max_leaf_nodes", 31, 2, 4096, "Leaves of a tree"),
        Parameter("min_samples_leaf", 100, 1, 1_000_000, "Least training rows in a leaf"),
        Parameter("l2_regularization", 10.0, 0.0, 1e6, "L2 penalty on leaf values"),
        Parameter("max_features", 0.3, 0.01, 1.0, "Share of features drawn for each split"),
        Parameter("max_bins", 127, 16, 255, "Histogram bins per feature"),
    ),
    importance_measure="total gain",
    file_name=FILE_NAME,
    libraries=LIBRARIES,
    fit=_fit,
    load=_load,
    rounds="max_iterations",
    quick={"max_iterations": 40, "learning_rate": 0.3, "max_leaf_nodes": 15, "max_features": 0.1, "max_bins": 63},
)
