"""Logistic and linear regression on standardised features, with a column for each feature that can be missing.

A missing value counts as the mean of training, and its column says that it was missing, which by itself is
worth 0.002 in AUC on the real table.

Rows are added up by one running sum in the order of the columns: a product of matrices, which is what
scikit-learn predicts by, adds in another order for one row than for many.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import expit

from weather_platform.domain.algorithms.estimators import LIBRARIES, EstimatorModel, Floats, loaded, named, whole
from weather_platform.domain.algorithms.skops_files import FILE_NAME
from weather_platform.domain.algorithms.spec import Algorithm, Explanation, FitRows, FloatMatrix, Parameter, Params
from weather_platform.domain.targets import Task

_TYPES = frozenset(
    {
        "sklearn.pipeline.Pipeline",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.impute._base.MissingIndicator",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.Ridge",
    }
)
_CLASSES: Mapping[Task, str] = {"classification": "Pipeline", "regression": "Pipeline"}


class LinearModel(EstimatorModel):
    """The pipeline impute, scale, model."""

    @cached_property
    def _parts(self) -> tuple[Floats, Any, Floats, Floats, Floats, float]:
        """What a row needs: fill values, columns with an indicator, means, scales, weights, intercept."""
        impute, scale, model = (self.estimator[name] for name in ("impute", "scale", "model"))
        return (
            np.asarray(impute.statistics_, dtype=np.float64),
            impute.indicator_.features_,
            scale.mean_,
            scale.scale_,
            np.asarray(model.coef_, dtype=np.float64).ravel(),
            float(np.ravel(model.intercept_)[0]),
        )

    @property
    def notes(self) -> Mapping[str, int]:
        iterations = self.estimator["model"].n_iter_
        return {"weights": len(self._parts[4])} | (
            {} if iterations is None else {"iterations": int(np.max(iterations))}
        )

    def predict_slice(self, values: FloatMatrix) -> Floats:
        raw = self._raw(self._terms(values))
        return np.asarray(expit(raw)) if self.task == "classification" else raw

    def _terms(self, values: FloatMatrix) -> Floats:
        """Weight times standardised value of each column: the features, then the indicators."""
        fill, indicated, mean, scale, weight, _ = self._parts
        missing = np.isnan(values)
        columns = np.hstack([np.where(missing, fill, values), missing[:, indicated]])
        columns -= mean
        columns /= scale
        columns *= weight
        return columns

    def _raw(self, terms: Floats) -> Floats:
        return np.asarray(np.cumsum(terms, axis=1)[:, -1] + self._parts[-1])

    def explain(self, row: FloatMatrix) -> Explanation:
        """The terms of a row, that of an indicator with its feature's; the base is what the average row gives."""
        terms = self._terms(row)
        of_feature = terms[0, : len(self.feature_names)].copy()
        of_feature[self._parts[1]] += terms[0, len(of_feature) :]
        return Explanation(self._parts[-1], of_feature, float(self._raw(terms)[0]))

    def feature_weights(self) -> Floats:
        """The size of the standardised weights; that of an indicator counts for its feature."""
        _, indicated, _, _, weight, _ = self._parts
        size = np.abs(weight)
        own = size[: len(self.feature_names)].copy()
        own[indicated] += size[len(own) :]
        return own


def _fit(rows: FitRows, task: Task, params: Params, seed: int, threads: int) -> LinearModel:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    model = (
        LogisticRegression(
            C=params["c"], tol=params["tolerance"], max_iter=whole(params, "max_iterations"), random_state=seed
        )
        if task == "classification"
        else Ridge(alpha=params["alpha"], random_state=seed)
    )
    impute = SimpleImputer(add_indicator=True, keep_empty_features=True)
    pipeline = Pipeline([("impute", impute), ("scale", StandardScaler()), ("model", model)])
    with threadpool_limits(threads):
        pipeline.fit(rows.values[rows.train].astype(np.float64), rows.labels[rows.train].astype(np.float64))
    named(impute, rows)
    return LinearModel(pipeline, task, threads)


def _load(data: bytes, task: Task, threads: int) -> LinearModel:
    pipeline = loaded(data, _TYPES, _CLASSES, task)
    return LinearModel(pipeline, task, threads)


LOGISTIC_REGRESSION = Algorithm(
    name="logistic_regression",
    title="Logistic regression",
    description="A weighted sum of standardised features; a missing value counts as the mean and is told to the model.",
    tasks=frozenset({"classification"}),
    parameters=(
        Parameter("c", 0.01, 1e-6, 1e4, "Inverse of the L2 penalty on the weights"),
        Parameter("tolerance", 1e-3, 1e-8, 1.0, "Gradient at which the solver stops"),
        Parameter("max_iterations", 300, 1, 100_000, "Most iterations of the solver"),
    ),
    file_name=FILE_NAME,
    libraries=LIBRARIES,
    fit=_fit,
    load=_load,
)

LINEAR_REGRESSION = Algorithm(
    name="linear_regression",
    title="Linear regression (ridge)",
    description="A weighted sum of standardised features; a missing value counts as the mean and is told to the model.",
    tasks=frozenset({"regression"}),
    parameters=(Parameter("alpha", 100.0, 1e-6, 1e8, "L2 penalty on the weights, beside the sum of squared errors"),),
    file_name=FILE_NAME,
    libraries=LIBRARIES,
    fit=_fit,
    load=_load,
)
