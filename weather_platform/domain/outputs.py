"""From a model's raw value to a forecast: one output stage per task, fitted on the validation part only.

What belongs here: what a forecast consists of, how it is made from a raw value, and which metrics judge it. What
does not: the metrics themselves (`metrics`, `regression_metrics`), the calibration map (`calibration`), training.

This is all that differs between the tasks. A classification gives a calibrated probability and whether it reaches
the threshold; a regression gives the value with a 90 % prediction interval. Every step is elementwise: a row's bits
do not depend on how many rows are forecast with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.calibration import Calibration, fit_calibration
from weather_platform.domain.metrics import (
    CLASSIFICATION_METRICS,
    ClassificationDiagnostics,
    Floats,
    Interval,
    best_f1_threshold,
    bootstrap_intervals,
    classification_metrics,
    confusion,
    precision_recall_curve,
    reliability,
)
from weather_platform.domain.regression_metrics import (
    REGRESSION_METRICS,
    RegressionDiagnostics,
    regression_diagnostics,
    regression_intervals,
    regression_metrics,
)
from weather_platform.domain.targets import Task
from weather_platform.errors import InvariantError

Labels = NDArray[np.float32]
Days = NDArray[np.int32]
Diagnostics = ClassificationDiagnostics | RegressionDiagnostics

INTERVAL_COVERAGE = 0.90
"""The share of observed values that a prediction interval is made to hold."""

INTERVAL_GROUPS = 5
"""Groups of about equal size by the forecast value, each with an interval of its own.

Hot days are harder. Measured for `max_temp_tomorrow` on the test year 2014 of the real table: with one group the
tenths of the forecasts are covered by 84 to 97 % and the months by 85 to 98 %, with five by 90 to 94 % and 87 to 95 %
at a lower interval score (10.9 instead of 11.3 degrees); eight change nothing any more.
"""

_TAIL = (1 - INTERVAL_COVERAGE) / 2
_LEAST_ROWS = 19
"""The 5 % quantile with its finite-sample correction is an observed residual from this many rows on."""


@dataclass(frozen=True, eq=False)
class Forecasts:
    """One forecast per row.

    ``value`` is the calibrated probability of a classification, or the value in the target's unit of a
    regression. ``label`` is the decision of a classification, ``low`` and ``high`` are the ends of a regression's
    prediction interval; each is None for the other task.
    """

    value: Floats
    label: NDArray[np.bool_] | None = None
    low: Floats | None = None
    high: Floats | None = None

    @property
    def judged(self) -> NDArray[np.bool_] | Floats:
        """What the primary metric judges: the decision, or the value."""
        return self.value if self.label is None else self.label

    @property
    def decision(self) -> NDArray[np.bool_]:
        """The yes or no of each row; InvariantError for a regression."""
        if self.label is None:
            raise InvariantError("forecasts of a value have no yes or no; ask for their interval")
        return self.label

    @property
    def interval(self) -> tuple[Floats, Floats]:
        """Both ends of the prediction intervals; InvariantError for a classification."""
        if self.low is None or self.high is None:
            raise InvariantError("forecasts of a probability have no prediction interval; ask for their decision")
        return self.low, self.high

    def only(self, mask: NDArray[np.bool_]) -> "Forecasts":
        """The forecasts of the masked rows."""
        return Forecasts(
            self.value[mask],
            label=None if self.label is None else self.label[mask],
            low=None if self.low is None else self.low[mask],
            high=None if self.high is None else self.high[mask],
        )


class Output(Protocol):
    """How raw values become forecasts, and how such forecasts are measured."""

    METRICS: ClassVar[tuple[str, ...]]

    @classmethod
    def fit(cls, labels: Labels, raw: Floats) -> Self:
        """From validation rows."""

    @classmethod
    def fit_baseline(cls, labels: Labels, raw: Floats) -> Self:
        """From validation rows of a baseline, whose raw values are forecasts already."""

    def calibration_text(self) -> str:
        """The calibration in a few words."""

    def recalibrated(self, labels: Labels, raw: Floats) -> Self:
        """The same with its calibration fitted again on these rows; threshold and interval are kept."""

    def apply(self, raw: Floats) -> Forecasts:
        """The forecast of each raw value."""

    def metrics(self, labels: Labels, forecasts: Forecasts) -> dict[str, float]:
        """Every metric of METRICS."""

    def intervals(
        self, labels: Labels, forecasts: Forecasts, day: Days, *, seed: int, resamples: int
    ) -> dict[str, Interval]:
        """The bootstrap interval of every metric, over whole days."""

    def diagnose(self, labels: Labels, forecasts: Forecasts, day: Days) -> Diagnostics:
        """What the plots are drawn from."""

    @staticmethod
    def losses(metrics: Mapping[str, float]) -> dict[str, float]:
        """By name, what a skill score is made of: a mean loss that is 0 for perfect forecasts."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the contract."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """From the plain values of a contract."""


@dataclass(frozen=True, slots=True)
class ProbabilityOutput:
    """The output of a classification: a calibrated probability, and yes from the threshold on."""

    METRICS: ClassVar[tuple[str, ...]] = CLASSIFICATION_METRICS

    calibration: Calibration
    threshold: float

    @classmethod
    def fit(cls, labels: Labels, raw: Floats) -> Self:
        calibration = fit_calibration(labels, raw)
        return cls(calibration, best_f1_threshold(labels, calibration.apply(raw)))

    @classmethod
    def fit_baseline(cls, labels: Labels, raw: Floats) -> Self:
        return cls(Calibration(), best_f1_threshold(labels, raw))

    def calibration_text(self) -> str:
        return f"log-odds = {self.calibration.slope:.4f} * raw log-odds {self.calibration.intercept:+.4f}"

    def recalibrated(self, labels: Labels, raw: Floats) -> Self:
        return replace(self, calibration=fit_calibration(labels, raw))

    def apply(self, raw: Floats) -> Forecasts:
        probability = self.calibration.apply(raw)
        return Forecasts(probability, label=probability >= self.threshold)

    def metrics(self, labels: Labels, forecasts: Forecasts) -> dict[str, float]:
        return classification_metrics(labels, forecasts.value, self.threshold)

    def intervals(
        self, labels: Labels, forecasts: Forecasts, day: Days, *, seed: int, resamples: int
    ) -> dict[str, Interval]:
        return bootstrap_intervals(labels, forecasts.value, self.threshold, day, seed=seed, resamples=resamples)

    def diagnose(self, labels: Labels, forecasts: Forecasts, day: Days) -> ClassificationDiagnostics:  # noqa: ARG002
        return ClassificationDiagnostics(
            self.threshold,
            confusion(labels, forecasts.decision),
            reliability(labels, forecasts.value),
            precision_recall_curve(labels, forecasts.value),
        )

    @staticmethod
    def losses(metrics: Mapping[str, float]) -> dict[str, float]:
        return {"brier": metrics["brier"]}

    def to_dict(self) -> dict[str, Any]:
        return {"calibration": self.calibration.to_dict(), "threshold": self.threshold}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        return cls(Calibration.from_dict(values["calibration"]), float(values["threshold"]))


@dataclass(frozen=True, slots=True)
class ValueOutput:
    """The output of a regression: the raw value, and a 90 % prediction interval around it.

    Values up to the first of ``edges`` get the first pair of offsets, values above it the second, and so on. ``bias``
    is added to every raw value: the calibration of a value, 0 until it is fitted again.
    """

    METRICS: ClassVar[tuple[str, ...]] = REGRESSION_METRICS

    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.low) == len(self.high) == len(self.edges) + 1:
            raise InvariantError("a prediction interval needs one pair of offsets more than it has edges")
        if not np.isfinite([*self.edges, *self.low, *self.high, self.bias]).all() or sorted(set(self.edges)) != [
            *self.edges
        ]:
            raise InvariantError("the offsets and the rising edges of a prediction interval must be finite numbers")
        if max(self.low) > 0 or min(self.high) < 0:
            raise InvariantError("a prediction interval must hold its own forecast: low offsets <= 0 <= high offsets")

    @classmethod
    def fit(cls, labels: Labels, raw: Floats) -> Self:
        """Split-conformal: the offsets are quantiles of observed minus forecast, corrected for their finite number.

        Widened where needed so that the forecast itself lies inside.
        """
        residual = labels.astype(np.float64) - raw
        if not np.isfinite(residual).all() or len(raw) < _LEAST_ROWS:
            raise InvariantError(
                f"a prediction interval needs finite residuals of at least {_LEAST_ROWS} validation rows, "
                f"and there are {len(raw)}; validate on a longer span"
            )
        edges = _group_edges(np.sort(raw))
        group = np.searchsorted(edges, raw)
        offsets = [_offsets(residual[group == at]) for at in range(len(edges) + 1)]
        low, high = zip(*offsets, strict=True)
        return cls(tuple(edges), low, high)

    @classmethod
    def fit_baseline(cls, labels: Labels, raw: Floats) -> Self:
        return cls.fit(labels, raw)

    def calibration_text(self) -> str:
        return f"value = raw value {self.bias:+.4f}"

    def recalibrated(self, labels: Labels, raw: Floats) -> Self:
        """The bias is the mean of observed minus raw; the interval moves with the value."""
        return replace(self, bias=float(np.mean(labels.astype(np.float64) - raw)))

    def apply(self, raw: Floats) -> Forecasts:
        value = raw + self.bias if self.bias else raw
        group = np.searchsorted(self.edges, value)
        return Forecasts(value, low=value + np.take(self.low, group), high=value + np.take(self.high, group))

    def metrics(self, labels: Labels, forecasts: Forecasts) -> dict[str, float]:
        return regression_metrics(labels, forecasts.value, *forecasts.interval)

    def intervals(
        self, labels: Labels, forecasts: Forecasts, day: Days, *, seed: int, resamples: int
    ) -> dict[str, Interval]:
        return regression_intervals(labels, forecasts.value, *forecasts.interval, day, seed=seed, resamples=resamples)

    def diagnose(self, labels: Labels, forecasts: Forecasts, day: Days) -> RegressionDiagnostics:
        return regression_diagnostics(labels, forecasts.value, *forecasts.interval, day)

    @staticmethod
    def losses(metrics: Mapping[str, float]) -> dict[str, float]:
        return {"mae": metrics["mae"], "mse": metrics["rmse"] ** 2}

    def to_dict(self) -> dict[str, Any]:
        return {
            "interval": {
                "coverage": INTERVAL_COVERAGE,
                "edges": list(self.edges),
                "low": list(self.low),
                "high": list(self.high),
            },
            **({"bias": self.bias} if self.bias else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        interval = values["interval"]
        edges, low, high = (tuple(map(float, interval[name])) for name in ("edges", "low", "high"))
        return cls(edges, low, high, float(values.get("bias", 0.0)))


OUTPUTS: Mapping[Task, type[ProbabilityOutput] | type[ValueOutput]] = MappingProxyType(
    {"classification": ProbabilityOutput, "regression": ValueOutput}
)
"""The output stage of each task."""


def _group_edges(ranked: Floats) -> list[float]:
    """Values that cut ranked raw values into at most INTERVAL_GROUPS groups of about equal size, none too small."""
    edges: list[float] = []
    start = 0
    for cut in range(1, INTERVAL_GROUPS):
        edge = float(ranked[len(ranked) * cut // INTERVAL_GROUPS])
        end = int(np.searchsorted(ranked, edge, side="right"))
        if end - start >= _LEAST_ROWS and len(ranked) - end >= _LEAST_ROWS:
            edges.append(edge)
            start = end
    return edges


def _offsets(residual: Floats) -> tuple[float, float]:
    ranked = np.sort(residual)
    count = len(ranked)
    # The small number keeps (19 + 1) * 0.05 from becoming 0.99...: ranks are whole numbers up to rounding.
    below = int(np.floor((count + 1) * _TAIL + 1e-9))
    return min(float(ranked[below - 1]), 0.0), max(float(ranked[count - below]), 0.0)
