"""Logistic and linear regression on standardised features, with a column for each feature that can be missing.

A missing value counts as the mean of training, and its column says that it was missing, which by itself is
worth 0.002 in AUC on the real table.

Rows are added up by one running sum in the order of the columns: a product of matrices, which is what
scikit-learn predicts by, adds in another order for one row than for many. That takes a few arrays, which are read
from the file as they are: a process that only forecasts imports neither scikit-learn nor skops, 100 MB together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from weather_platform.domain.algorithms import skops_files
from weather_platform.domain.algorithms.estimators import LIBRARIES, Floats, LearntModel, expect, named, names_of, whole
from weather_platform.domain.algorithms.skops_files import FILE_NAME, Unmade, unfit
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
_COLUMNS_AT_ONCE = 8
_ROWS_AT_ONCE = 1 << 11
"""Of the training rows: means and scales are learnt from a few columns at a time, and the table of the solver is
filled by a few rows, so that it is the only copy that is made whole."""

_MODELS: Mapping[Task, str] = {"classification": "LogisticRegression", "regression": "Ridge"}


@dataclass(frozen=True, eq=False)
class _Numbers:
    """What a row needs of a pipeline. The columns are the features, then an indicator for each of `indicated`."""

    feature_names: tuple[str, ...]
    fill: Floats
    indicated: NDArray[np.int64]
    mean: Floats
    scale: Floats
    weight: Floats
    intercept: float
    iterations: int | None

    @classmethod
    def of(cls, pipeline: Unmade, task: Task) -> "_Numbers":
        """RegistryError unless they are there and belong together, so that no forecast finds out."""
        impute, scale, model = _steps(pipeline, task)
        names = names_of(impute.state.get("feature_names_in_"))
        indicated = impute.part("indicator_", "MissingIndicator").array("features_", np.int64)
        of_features, columns = (len(names),), (len(names) + indicated.size,)
        if indicated.ndim != 1 or not np.isin(indicated, range(len(names))).all() or (np.diff(indicated) <= 0).any():
            raise unfit("indicators of other columns than its features, each once and in their order")
        scales = _shaped(scale, "scale_", columns)
        if not scales.all():
            raise unfit("a scale of zero")
        rounds = model.state.get("n_iter_")
        return cls(
            feature_names=names,
            fill=_shaped(impute, "statistics_", of_features),
            indicated=indicated,
            mean=_shaped(scale, "mean_", columns),
            scale=scales,
            weight=_shaped(model, "coef_", columns, (1, *columns)).ravel(),
            intercept=_shaped(model, "intercept_", (), (1,)).item(),
            iterations=None if rounds is None else int(model.array("n_iter_", np.int32, np.int64).max(initial=0)),
        )


def _steps(pipeline: Unmade, task: Task) -> tuple[Unmade, Unmade, Unmade]:
    """Of a pipeline as it is fitted for the task."""
    expect(pipeline.name, "Pipeline", task)
    match pipeline.state.get("steps"):
        case (("impute", Unmade() as impute), ("scale", Unmade() as scale), ("model", Unmade() as model)):
            for step, needed in ((impute, "SimpleImputer"), (scale, "StandardScaler"), (model, _MODELS[task])):
                expect(step.name, needed, task)
            return impute, scale, model
    raise unfit("a Pipeline of other steps than impute, scale and model")


def _shaped(holder: Unmade, attribute: str, *shapes: tuple[int, ...]) -> Floats:
    """The numbers in an attribute, in one of these shapes."""
    found = holder.array(attribute, np.float64)
    if found.shape not in shapes:
        raise unfit(
            f"a {holder.name} whose {attribute} has the shape {found.shape} where {shapes[0]} fits the features"
        )
    if not np.isfinite(found).all():
        raise unfit(f"a {holder.name} whose {attribute} is not finite")
    return found


@dataclass(frozen=True, eq=False)
class LinearModel(LearntModel):
    """The pipeline impute, scale, model: the numbers of its file, and the file."""

    file: bytes = field(repr=False)
    task: Task
    numbers: _Numbers

    @classmethod
    def of(cls, file: bytes, task: Task) -> "LinearModel":
        return cls(file, task, _Numbers.of(skops_files.read(file, _TYPES), task))

    @property
    def feature_names(self) -> tuple[str, ...]:
        return self.numbers.feature_names

    @property
    def notes(self) -> Mapping[str, int]:
        iterations = self.numbers.iterations
        return {"weights": len(self.numbers.weight)} | ({} if iterations is None else {"iterations": iterations})

    def to_bytes(self) -> bytes:
        return self.file

    def predict_slice(self, values: FloatMatrix) -> Floats:
        raw = self._raw(self._terms(values))
        return np.asarray(expit(raw)) if self.task == "classification" else raw

    def _terms(self, values: FloatMatrix) -> Floats:
        """Weight times standardised value of each column: the features, then the indicators."""
        numbers = self.numbers
        missing = np.isnan(values)
        columns = np.hstack([np.where(missing, numbers.fill, values), missing[:, numbers.indicated]])
        columns -= numbers.mean
        columns /= numbers.scale
        columns *= numbers.weight
        return columns

    def _raw(self, terms: Floats) -> Floats:
        return np.asarray(np.cumsum(terms, axis=1)[:, -1] + self.numbers.intercept)

    def explain(self, row: FloatMatrix) -> Explanation:
        """The terms of a row, that of an indicator with its feature's; the base is what the average row gives."""
        terms = self._terms(row)
        of_feature = terms[0, : len(self.feature_names)].copy()
        of_feature[self.numbers.indicated] += terms[0, len(of_feature) :]
        return Explanation(self.numbers.intercept, of_feature, float(self._raw(terms)[0]))

    def feature_weights(self) -> Floats:
        """The size of the standardised weights; that of an indicator counts for its feature."""
        size = np.abs(self.numbers.weight)
        own = size[: len(self.feature_names)].copy()
        own[self.numbers.indicated] += size[len(own) :]
        return own


def _fit(rows: FitRows, task: Task, params: Params, seed: int, threads: int) -> LinearModel:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    model = (
        LogisticRegression(
            C=params["c"], tol=params["tolerance"], max_iter=whole(params, "max_iterations"), random_state=seed
        )
        if task == "classification"
        else Ridge(alpha=params["alpha"], random_state=seed, copy_X=False)
    )
    with threadpool_limits(threads):
        impute = _imputer(rows)
        table = _imputed(rows, impute)
        scale = _scaler(table)
        table -= scale.mean_
        table /= scale.scale_
        model.fit(table, rows.labels[rows.train].astype(np.float64))
    if task == "regression":
        model.set_params(copy_X=True)  # which is the default, so that the file does not tell
    return LinearModel.of(
        skops_files.dump(Pipeline([("impute", named(impute, rows)), ("scale", scale), ("model", model)])), task
    )


def _imputer(rows: FitRows) -> Any:
    """As scikit-learn fits it on all columns at once."""
    from sklearn.impute import SimpleImputer

    width = rows.values.shape[1]
    fill, missing = np.empty(width), np.empty(width, dtype=np.bool_)
    for part in _parts(width):
        values = rows.values[:, part][rows.train].astype(np.float64, order="C")
        missing[part] = np.isnan(values).any(axis=0)
        fill[part] = SimpleImputer(keep_empty_features=True, copy=False).fit(values).statistics_
    impute = SimpleImputer(add_indicator=True, keep_empty_features=True)
    impute.fit(np.where(missing, [[0.0], [np.nan]], 0.0))
    impute.statistics_ = fill
    return impute


def _imputed(rows: FitRows, impute: Any) -> Floats:
    """The training rows as columns of `_Numbers`, not yet standardised."""
    at, width = np.flatnonzero(rows.train), rows.values.shape[1]
    indicated = impute.indicator_.features_
    table = np.empty((len(at), width + len(indicated)))
    for start in range(0, len(at), _ROWS_AT_ONCE):
        here = slice(start, start + _ROWS_AT_ONCE)
        values = rows.values[at[here]]
        missing = np.isnan(values)
        table[here, :width] = np.where(missing, impute.statistics_, values)
        table[here, width:] = missing[:, indicated]
    return table


def _scaler(table: Floats) -> Any:
    """As scikit-learn fits it on all columns at once."""
    from sklearn.preprocessing import StandardScaler

    fitted = [StandardScaler().fit(table[:, part]) for part in _parts(table.shape[1])]
    scale = StandardScaler().fit(np.zeros((1, table.shape[1])))
    scale.n_samples_seen_ = fitted[0].n_samples_seen_
    for learnt in ("mean_", "var_", "scale_"):
        setattr(scale, learnt, np.concatenate([getattr(each, learnt) for each in fitted]))
    return scale


def _parts(width: int) -> list[slice]:
    """A few columns each, and no column alone beside others: NumPy adds up a single column in another order."""
    return [slice(*ends) for ends in pairwise([*range(0, max(width - 1, 1), _COLUMNS_AT_ONCE), width])]


def _load(data: bytes, task: Task, _threads: int) -> LinearModel:
    return LinearModel.of(data, task)


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
    importance_measure="absolute standardised weights",
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
    importance_measure="absolute standardised weights",
    file_name=FILE_NAME,
    libraries=LIBRARIES,
    fit=_fit,
    load=_load,
)
