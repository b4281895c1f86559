"""What an algorithm is: its parameters with bounds, the rows it is fitted on, the model it gives. No method is here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.targets import Task
from weather_platform.errors import InvariantError

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
    """A feature matrix with the rows to learn from and the rows to stop by; both have labels.

    Without rows to stop by an algorithm learns for as many rounds as its parameters say.
    """

    values: FloatMatrix
    labels: NDArray[np.float32]
    feature_names: tuple[str, ...]
    train: Mask
    validation: Mask | None


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
        """The share of each feature in `Algorithm.importance_measure`; unused features are 0."""

    def to_bytes(self) -> bytes:
        """The model file: a format without executable content, the same bytes for the same model."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each feature adds to the raw value of one row: ``base`` and all of ``of_feature`` add up to ``raw``.

    For a classification all of them are log-odds.
    """

    base: float
    of_feature: NDArray[np.float64]
    raw: float


@runtime_checkable
class Explained(Protocol):
    """A fitted model that says exactly how its features make a raw value."""

    def explain(self, row: FloatMatrix) -> Explanation:
        """Of one row, in the order of the model's features."""


Fit = Callable[[FitRows, Task, Params, int, int], FittedModel]
"""(rows, task, parameters, seed, threads) -> model"""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to learn.

    ``importance_measure`` is what a fitted model shares out among its features, as people read it after "share
    of". ``file_name`` is what the model file is called in the registry; ``libraries`` are the distributions whose
    versions decide what is learnt, the one that learns first; ``quick`` are the parameters in which a trial on
    small data differs from the defaults.
    """

    name: str
    title: str
    description: str
    tasks: frozenset[Task]
    parameters: tuple[Parameter, ...]
    importance_measure: str
    file_name: str
    libraries: tuple[str, ...]
    fit: Fit
    load: Callable[[bytes, Task, int], FittedModel]
    quick: Params = field(default_factory=dict)
    rounds: str | None = None
    """The parameter that early stopping may cut short; None where nothing is stopped early."""

    def defaults(self) -> Params:
        """The default parameters, read-only."""
        return MappingProxyType({p.name: p.default for p in self.parameters})

    def quickly(self) -> Params:
        """The parameters of a trial: seconds instead of a minute, for some skill."""
        return self.resolve(self.quick)

    def settled(self, params: Params, first: FittedModel) -> Params:
        """The parameters with as many rounds as a first fit with early stopping kept, for a fit without it."""
        return params if self.rounds is None else MappingProxyType({**params, self.rounds: first.notes["trees"]})

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
