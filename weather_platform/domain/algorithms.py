"""How a forecast is learnt: one `Algorithm` per method with its documented parameters, and the baselines.

What belongs here: fitting on given rows, predicting raw values, saving to and loading from bytes that cannot
execute code. What does not: which rows (`splits`), calibration and thresholds (`calibration`), metrics. A new
entry in `ALGORITHMS` is a new candidate everywhere.

Two promises of every fitted model: the same inputs, parameters, seed and threads give the same bytes, and a
row's prediction has the same bits alone as among a million.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from weather_platform.domain.targets import Task
from weather_platform.errors import InvariantError, RegistryError

FloatMatrix = NDArray[np.float32]
Mask = NDArray[np.bool_]

Params = Mapping[str, float | int]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One knob of an algorithm; the bounds are inclusive. An int default makes it a whole number."""

    name: str
    default: float | int
    low: float
    high: float
    description: str


@dataclass(frozen=True, eq=False)
class FitRows:
    """A feature matrix with the rows to learn from and the rows to stop by; both have labels."""

    values: FloatMatrix
    labels: NDArray[np.float32]
    feature_names: tuple[str, ...]
    train: Mask
    validation: Mask


class FittedModel(Protocol):
    """What every algorithm gives back, freshly fitted or loaded."""

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns the model was fitted on, in order."""

    @property
    def notes(self) -> Mapping[str, int]:
        """What fitting found out, such as the number of trees kept."""

    def predict_raw(self, values: FloatMatrix) -> NDArray[np.float64]:
        """The uncalibrated probability (classification) or value (regression) of each row."""

    def importance(self) -> dict[str, float]:
        """The share of each feature in what the model explains, by gain; unused features are 0."""

    def to_bytes(self) -> bytes:
        """The model file: a format without executable content, the same bytes for the same model."""


Fit = Callable[[FitRows, Task, Params, int, int], FittedModel]
"""(rows, task, parameters, seed, threads) -> model"""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to learn. ``file_name`` is what the model file is called in the registry."""

    name: str
    title: str
    description: str
    tasks: frozenset[Task]
    parameters: tuple[Parameter, ...]
    file_name: str
    fit: Fit
    load: Callable[[bytes, Task, int], FittedModel]

    def defaults(self) -> Params:
        """The default parameters, read-only."""
        return MappingProxyType({p.name: p.default for p in self.parameters})

    def resolve(self, overrides: Params) -> Params:
        """Defaults with overrides, each within its bounds; InvariantError names the first that is not."""
        known = {p.name: p for p in self.parameters}
        for name, value in overrides.items():
            if name not in known:
                raise InvariantError(f"{self.name} has no parameter '{name}'; it has {', '.join(sorted(known))}")
            parameter = known[name]
            if isinstance(parameter.default, int) and value != int(value):
                raise InvariantError(f"{self.name}: {name} must be a whole number, not {value}")
            if not parameter.low <= value <= parameter.high:
                raise InvariantError(
                    f"{self.name}: {name} must be between {parameter.low:g} and {parameter.high:g}, not {value:g}"
                )
        return MappingProxyType({p.name: type(p.default)(overrides.get(p.name, p.default)) for p in self.parameters})


# --- XGBoost ---

_ROWS_AT_ONCE = 1 << 18
"""Rows handed to XGBoost at a time, so that the table is never copied whole. Part of the recipe: it places
the batches of the quantile sketch."""

_OBJECTIVES: Mapping[Task, tuple[str, str]] = {
    "classification": ("binary:logistic", "logloss"),
    "regression": ("reg:squarederror", "rmse"),
}


@dataclass(frozen=True, eq=False)
class XGBoostModel:
    """A booster cut to its best iteration."""

    booster: Any
    task: Task

    @property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.booster.feature_names)

    @property
    def notes(self) -> Mapping[str, int]:
        return {"trees": int(self.booster.num_boosted_rounds())}

    def predict_raw(self, values: FloatMatrix) -> NDArray[np.float64]:
        if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != len(self.feature_names):
            raise InvariantError(
                f"the model takes float32 rows of {len(self.feature_names)} features, "
                f"not {values.dtype} of shape {values.shape}; build them with the same feature version"
            )
        if len(values) == 0:
            return np.empty(0)
        # Always this one call: margins in float32, then one double-precision sigmoid whose loop is scalar.
        margin = self.booster.inplace_predict(np.ascontiguousarray(values), predict_type="margin")
        raw = np.asarray(margin, dtype=np.float64)
        return np.asarray(expit(raw)) if self.task == "classification" else raw

    def importance(self) -> dict[str, float]:
        gain = self.booster.get_score(importance_type="total_gain")
        total = sum(gain.values()) or 1.0
        return {name: float(gain.get(name, 0.0)) / total for name in self.feature_names}

    def to_bytes(self) -> bytes:
        return bytes(self.booster.save_raw(raw_format="ubj"))


def _fit_xgboost(rows: FitRows, task: Task, params: Params, seed: int, threads: int) -> XGBoostModel:
    import xgboost

    class Batches(xgboost.DataIter):  # type: ignore[misc]
        """Hands over the masked rows slice by slice."""

        def __init__(self, mask: Mask) -> None:
            self._mask, self._next = mask, 0
            super().__init__()

        def next(self, input_data: Callable[..., None]) -> bool:
            while self._next < len(self._mask):
                here = slice(self._next, self._next + _ROWS_AT_ONCE)
                self._next += _ROWS_AT_ONCE
                mask = self._mask[here]
                if mask.any():
                    input_data(
                        data=rows.values[here][mask],
                        label=rows.labels[here][mask],
                        feature_names=list(rows.feature_names),
                    )
                    return True
            return False

        def reset(self) -> None:
            self._next = 0

    own = dict(params)
    rounds, patience, bins = (int(own.pop(k)) for k in ("n_estimators", "early_stopping_rounds", "max_bin"))
    objective, metric = _OBJECTIVES[task]
    train = xgboost.QuantileDMatrix(Batches(rows.train), max_bin=bins, nthread=threads)
    validation = xgboost.QuantileDMatrix(Batches(rows.validation), ref=train, max_bin=bins, nthread=threads)
    booster = xgboost.train(
        {
            **own,
            "objective": objective,
            "eval_metric": metric,
            "tree_method": "hist",
            "max_bin": bins,
            "seed": seed,
            "nthread": threads,
        },
        train,
        num_boost_round=rounds,
        evals=[(validation, "validation")],
        early_stopping_rounds=patience,
        verbose_eval=False,
    )
    return XGBoostModel(_settled(booster[: booster.best_iteration + 1], threads), task)


_UBJSON_HEAD = b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner"


def _load_xgboost(data: bytes, task: Task, threads: int) -> XGBoostModel:
    """From a model file whose digest has been verified.

    Verified first, because XGBoost ends the whole process on some damaged files instead of raising. What is
    not such a file at all is refused here, by its first bytes.
    """
    import xgboost

    if not data.startswith(_UBJSON_HEAD) or not data.endswith(b"}"):
        raise RegistryError("the model file is not an XGBoost model in UBJSON; register it again")
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(data))
    except xgboost.core.XGBoostError as error:
        raise RegistryError("the model file cannot be read as an XGBoost model; register it again") from error
    if not booster.feature_names:
        raise RegistryError("the model file names no features; it was not written by this platform")
    return XGBoostModel(_settled(booster, threads), task)


def _settled(booster: Any, threads: int) -> Any:
    booster.set_param({"nthread": threads})
    return booster


XGBOOST = Algorithm(
    name="xgboost",
    title="Gradient boosted trees (XGBoost)",
    description=(
        "Histogram gradient boosting, stopped early by the validation part; missing values take a branch of their own."
    ),
    tasks=frozenset({"classification", "regression"}),
    parameters=(
        Parameter("n_estimators", 600, 1, 20_000, "Most trees; early stopping usually keeps fewer"),
        Parameter("early_stopping_rounds", 30, 1, 1000, "Rounds without a better validation loss before stopping"),
        Parameter("eta", 0.07, 0.001, 1.0, "Learning rate"),
        Parameter("max_depth", 7, 1, 16, "Depth of a tree"),
        Parameter("min_child_weight", 20.0, 0.0, 1e6, "Least sum of hessians in a leaf"),
        Parameter("subsample", 0.8, 0.05, 1.0, "Share of rows drawn for each tree"),
        Parameter("colsample_bytree", 1.0, 0.01, 1.0, "Share of features drawn for each tree"),
        Parameter("colsample_bynode", 0.3, 0.01, 1.0, "Share of features drawn for each split"),
        Parameter("reg_lambda", 30.0, 0.0, 1e6, "L2 penalty on leaf values"),
        Parameter("reg_alpha", 0.0, 0.0, 1e6, "L1 penalty on leaf values"),
        Parameter("gamma", 0.0, 0.0, 1e6, "Least loss reduction of a split"),
        Parameter("max_bin", 128, 16, 1024, "Histogram bins per feature"),
    ),
    file_name="model.ubj",
    fit=_fit_xgboost,
    load=_load_xgboost,
)

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({XGBOOST.name: XGBOOST})
"""All learnt candidates by name."""


# --- Baselines ---


@dataclass(frozen=True, eq=False)
class BaselineRows:
    """What a baseline may know of a row: where, when, and the label's own value on the issue day (NaN unknown)."""

    station_index: NDArray[np.int32]
    month: NDArray[np.int64]
    today: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.month)

    def where(self, mask: Mask) -> "BaselineRows":
        """The masked rows."""
        return replace(self, station_index=self.station_index[mask], month=self.month[mask], today=self.today[mask])

    @classmethod
    def of(cls, station_index: NDArray[np.int32], day: NDArray[np.int32], today: NDArray[np.float32]) -> "BaselineRows":
        """From day numbers; the month is that of the issue day, 0 is January."""
        month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12
        return cls(station_index, month, today)


class FittedBaseline(Protocol):
    """A baseline fitted on training rows."""

    def predict(self, rows: BaselineRows) -> NDArray[np.float64]:
        """The probability of each row."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A forecast anybody could make; a model that does not beat it is worth nothing."""

    name: str
    title: str
    description: str
    tasks: frozenset[Task]
    fit: Callable[[BaselineRows, NDArray[np.float32]], FittedBaseline]


@dataclass(frozen=True, eq=False)
class _Table:
    """A probability per cell; ``cells`` numbers the cell of each row."""

    probability: NDArray[np.float64]
    cells: Callable[[BaselineRows], NDArray[np.intp]]

    def predict(self, rows: BaselineRows) -> NDArray[np.float64]:
        return self.probability[self.cells(rows)]


def _today_cells(rows: BaselineRows) -> NDArray[np.intp]:
    return np.where(np.isnan(rows.today), 2, rows.today).astype(np.intp)  # 0 no, 1 yes, 2 unknown


def _fit_persistence(rows: BaselineRows, labels: NDArray[np.float32]) -> _Table:
    cells = _today_cells(rows)
    count = np.bincount(cells, minlength=3)
    positive = np.bincount(cells, weights=labels, minlength=3)
    overall = labels.mean(dtype=np.float64)
    return _Table(np.where(count > 0, positive / np.maximum(count, 1), overall), _today_cells)


CLIMATOLOGY_PRIOR_ROWS = 30.0
"""How many rows of the all-station month a station's own month is blended with: about one month of days."""

_MONTHS = 12


def _fit_climatology(rows: BaselineRows, labels: NDArray[np.float32]) -> _Table:
    stations = int(rows.station_index.max(initial=-1)) + 1

    def cells(of: BaselineRows) -> NDArray[np.intp]:
        known = (of.station_index >= 0) & (of.station_index < stations)
        return np.where(known, of.station_index, stations).astype(np.intp) * _MONTHS + of.month

    count = np.bincount(rows.month, minlength=_MONTHS)
    positive = np.bincount(rows.month, weights=labels, minlength=_MONTHS)
    overall = labels.mean(dtype=np.float64)
    month = np.where(count > 0, positive / np.maximum(count, 1), overall)
    own = cells(rows)
    size = (stations + 1) * _MONTHS  # the last row of cells is every station that training has not seen
    own_count = np.bincount(own, minlength=size)
    own_positive = np.bincount(own, weights=labels, minlength=size)
    blended = (own_positive + CLIMATOLOGY_PRIOR_ROWS * np.tile(month, stations + 1)) / (
        own_count + CLIMATOLOGY_PRIOR_ROWS
    )
    blended[-_MONTHS:] = month
    return _Table(blended, cells)


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            Baseline(
                name="persistence",
                title="Persistence",
                description="How often it rained in training after a day with, without or of unknown rain.",
                tasks=frozenset({"classification"}),
                fit=_fit_persistence,
            ),
            Baseline(
                name="climatology",
                title="Climatology",
                description="How often it rained in training in this month here, drawn towards all stations.",
                tasks=frozenset({"classification"}),
                fit=_fit_climatology,
            ),
        )
    }
)
"""The two references of every leaderboard, by name; fitted on the training rows of the split."""
