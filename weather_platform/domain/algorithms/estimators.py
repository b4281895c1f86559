"""What the models of scikit-learn have in common: feature names, rows in slices, and the estimator where it is kept.

What belongs here: the shell around what an estimator has learnt. What does not: how a kind of estimator is fitted
and how its rows are added up (`linear_models`, `tree_models`, `histogram_boosting`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms import skops_files
from weather_platform.domain.algorithms.spec import FitRows, FloatMatrix, Mask, Params
from weather_platform.domain.targets import Task
from weather_platform.errors import InvariantError, RegistryError

Floats = NDArray[np.float64]

LIBRARIES = ("scikit-learn", "skops")

_ROWS_AT_ONCE = 1 << 14
"""Rows predicted or converted at a time, so that no copy of the table is made whole beside what is asked for."""


class LearntModel(ABC):
    """What an estimator of scikit-learn has learnt.

    Rows are predicted from that and not through the estimator's `predict`, which checks and converts for longer
    than a forecast takes, may add the parts of a row in any order, and warns of rows without names.
    """

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """See `FittedModel`."""

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

    @abstractmethod
    def to_bytes(self) -> bytes:
        """See `FittedModel`."""


@dataclass(frozen=True, eq=False)
class EstimatorModel(LearntModel):
    """With the fitted estimator itself, whose compiled parts the rows go through."""

    estimator: Any
    task: Task
    threads: int

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(self.estimator.feature_names_in_)

    def to_bytes(self) -> bytes:
        return skops_files.dump(self.estimator)


def masked_rows(values: FloatMatrix, mask: Mask) -> Floats:
    """The masked rows in the precision that scikit-learn would copy them to, without a copy in between."""
    at = np.flatnonzero(mask)
    table = np.empty((len(at), values.shape[1]))
    for start in range(0, len(at), _ROWS_AT_ONCE):
        here = slice(start, start + _ROWS_AT_ONCE)
        table[here] = values[at[here]]
    return table


def named(estimator: Any, rows: FitRows) -> Any:
    """The estimator with its feature names, as fitting on a frame would have left them."""
    estimator.feature_names_in_ = np.array(rows.feature_names, dtype=object)
    return estimator


def loaded(data: bytes, types: frozenset[str], classes: Mapping[Task, str], task: Task) -> Any:
    """The estimator of a file; RegistryError unless it is of the class that the task needs and names its features."""
    estimator = skops_files.load(data, types)
    expect(type(estimator).__name__, classes[task], task)
    names_of(getattr(estimator, "feature_names_in_", None))
    return estimator


def expect(found: str, needed: str, task: Task) -> None:
    """RegistryError unless a file holds the class that the task needs."""
    if found != needed:
        raise skops_files.unfit(f"a {found} where {task} needs a {needed}")


def names_of(found: Any) -> tuple[str, ...]:
    """The feature names that a file holds; RegistryError if there are none."""
    names = tuple(found) if isinstance(found, (tuple, np.ndarray)) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise RegistryError("the model file names no features; it was not written by this platform")
    return names


def whole(params: Params, name: str) -> int:
    """A whole-number parameter."""
    return int(params[name])
