"""What the models of scikit-learn have in common: the estimator with its feature names, and rows in slices.

What belongs here: the shell around a fitted estimator. What does not: how a kind of estimator is fitted and
how its rows are added up (`linear_models`, `tree_models`, `histogram_boosting`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms import skops_files
from weather_platform.domain.algorithms.spec import FitRows, FloatMatrix, Params
from weather_platform.domain.targets import Task
from weather_platform.errors import InvariantError, RegistryError

Floats = NDArray[np.float64]

LIBRARIES = ("scikit-learn", "skops")

_ROWS_AT_ONCE = 1 << 14
"""Rows predicted at a time, so that no copy of the table is made whole."""


@dataclass(frozen=True, eq=False)
class EstimatorModel(ABC):
    """A fitted estimator of scikit-learn.

    Rows are predicted from what it has learnt and not through its `predict`, which checks and converts for longer
    than a forecast takes, may add the parts of a row in any order, and warns of rows without names.
    """

    estimator: Any
    task: Task
    threads: int

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.estimator.feature_names_in_)

    @property
    @abstractmethod
    def notes(self) -> Mapping[str, int]:
        """See `FittedModel`."""

    def predict_raw(self, values: FloatMatrix) -> Floats:
        if values.dtype != np.float32 or values.ndim != 2 or values.shape[1] != len(self.feature_names):
            raise InvariantError(
                f"the model takes float32 rows of {len(self.feature_names)} features, "
                f"not {values.dtype} of shape {values.shape}; build them with the same feature version"
            )
        raw = np.empty(len(values))
        for start in range(0, len(values), _ROWS_AT_ONCE):
            here = slice(start, start + _ROWS_AT_ONCE)
            raw[here] = self.predict_slice(np.ascontiguousarray(values[here]))
        return raw

    @abstractmethod
    def predict_slice(self, values: FloatMatrix) -> Floats:
        """The raw value of each row, from that row alone; C-contiguous float32."""

    def importance(self) -> dict[str, float]:
        weight = self.feature_weights()
        total = float(weight.sum()) or 1.0
        return {name: float(share) / total for name, share in zip(self.feature_names, weight, strict=True)}

    @abstractmethod
    def feature_weights(self) -> Floats:
        """What each feature contributes, on any scale."""

    def to_bytes(self) -> bytes:
        return skops_files.dump(self.estimator)


def named(estimator: Any, rows: FitRows) -> Any:
    """The estimator with its feature names, as fitting on a frame would have left them."""
    estimator.feature_names_in_ = np.array(rows.feature_names, dtype=object)
    return estimator


def loaded(data: bytes, types: frozenset[str], classes: Mapping[Task, str], task: Task) -> Any:
    """The estimator of a file; RegistryError unless it is of the class that the task needs and names its features."""
    estimator = skops_files.load(data, types)
    if type(estimator).__name__ != classes[task]:
        raise RegistryError(
            f"the model file holds a {type(estimator).__name__} where {task} needs a {classes[task]}; "
            "register the model again"
        )
    if not hasattr(estimator, "feature_names_in_"):
        raise RegistryError("the model file names no features; it was not written by this platform")
    return estimator


def whole(params: Params, name: str) -> int:
    """A whole-number parameter."""
    return int(params[name])
