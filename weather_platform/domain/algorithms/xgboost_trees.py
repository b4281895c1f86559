"""XGBoost: histogram gradient boosting, kept as UBJSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from weather_platform.domain.algorithms.flat_trees import FEW_ROWS, FlatTrees, Nodes, trusted
from weather_platform.domain.algorithms.spec import (
    Algorithm,
    Explanation,
    FitRows,
    FloatMatrix,
    Mask,
    Parameter,
    Params,
)
from weather_platform.domain.algorithms.ubjson import read_ubjson
from weather_platform.domain.targets import Task
from weather_platform.errors import InvariantError, RegistryError

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

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.booster.feature_names)

    @cached_property
    def _flat(self) -> FlatTrees | None:
        return flat_trees(self.booster)

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
        # Margins in float32, then one double-precision sigmoid whose loop is scalar.
        raw = self._margins(values).astype(np.float64)
        return np.asarray(expit(raw)) if self.task == "classification" else raw

    def _margins(self, values: FloatMatrix) -> NDArray[np.float32]:
        """The same bits from the booster as from its arrays."""
        if len(values) <= FEW_ROWS and self._flat is not None:
            return self._flat.margins(values)
        return _said(self.booster, np.ascontiguousarray(values))

    def explain(self, row: FloatMatrix) -> Explanation:
        """XGBoost's Shapley values; an unknown feature follows both branches by their hessians in training.

        They add up to the margin within the rounding of float32.
        """
        import xgboost

        table = xgboost.DMatrix(row, feature_names=list(self.feature_names), nthread=1)
        shares = self.booster.predict(table, pred_contribs=True)[0].astype(np.float64)
        return Explanation(float(shares[-1]), shares[:-1], float(self._margins(row)[0]))

    def importance(self) -> dict[str, float]:
        gain = self.booster.get_score(importance_type="total_gain")
        total = sum(gain.values()) or 1.0
        return {name: float(gain.get(name, 0.0)) / total for name in self.feature_names}

    def to_bytes(self) -> bytes:
        return bytes(self.booster.save_raw(raw_format="ubj"))


def _said(booster: Any, values: FloatMatrix) -> NDArray[np.float32]:
    return np.asarray(booster.inplace_predict(values, predict_type="margin"))


def flat_trees(booster: Any) -> FlatTrees | None:
    """The arrays of a booster; None when it is of a kind, or gives a margin, that they do not reproduce."""
    learner = read_ubjson(bytes(booster.save_raw(raw_format="ubj")))["learner"]
    model, shape = learner["gradient_booster"].get("model", {}), learner["learner_model_param"]
    if learner["gradient_booster"]["name"] != "gbtree" or shape["num_class"] != "0" or shape["num_target"] != "1":
        return None
    trees = model["trees"]
    if any(tree["split_type"].any() for tree in trees):
        return None
    first = np.cumsum([0, *(len(tree["left_children"]) for tree in trees)])
    offset = np.repeat(first[:-1], np.diff(first))

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([tree[name] for tree in trees])

    nodes = Nodes(
        roots=first[:-1],
        left=joined("left_children") + offset,
        right=joined("right_children") + offset,
        leaf=joined("left_children") == -1,
        feature=joined("split_indices").astype(np.intp),
        threshold=joined("split_conditions"),
        missing_left=joined("default_left") == 1,
        value=joined("split_conditions"),
    )
    features = int(shape["num_feature"])
    return trusted((FlatTrees.of(nodes, features, base) for base in _bases(learner)), partial(_said, booster))


def _bases(learner: Mapping[str, Any]) -> list[np.float32]:
    """Where margins start. The logarithm of another library may differ in the last digit, so its neighbours too."""
    base = np.float32(learner["learner_model_param"]["base_score"].strip("[]"))
    if learner["objective"]["name"] == "binary:logistic":
        base = np.float32(-np.log(np.float32(1) / base - np.float32(1)))
    return [base, *(np.nextafter(base, np.float32(way)) for way in (-np.inf, np.inf))]


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
    stopping: dict[str, Any] = {}
    if rows.validation is not None:
        validation = xgboost.QuantileDMatrix(Batches(rows.validation), ref=train, max_bin=bins, nthread=threads)
        stopping = {"evals": [(validation, "validation")], "early_stopping_rounds": patience}
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
        verbose_eval=False,
        **stopping,
    )
    kept = booster[: booster.best_iteration + 1] if stopping else booster
    return XGBoostModel(_settled(kept, threads), task)


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
    importance_measure="total gain",
    file_name="model.ubj",
    libraries=("xgboost",),
    fit=_fit_xgboost,
    load=_load_xgboost,
    rounds="n_estimators",
    quick={"n_estimators": 60, "early_stopping_rounds": 10, "eta": 0.3, "max_depth": 4, "max_bin": 64},
)
