"""From raw probabilities to ones that mean what they say: a monotone map fitted on the validation part only.

What belongs here: fitting the map, applying it, its plain numbers. What does not: thresholds and metrics.

The map is beta calibration: log-odds = a ln(p) - b ln(1 - p) + c with a, b >= 0. It contains the identity (a
= b = 1, c = 0) and Platt scaling of the log-odds (a = b), so it can leave a good model alone, and it never
changes the order of two forecasts. It is applied by functions whose loops are scalar: a row's bits do not
depend on how many rows are calibrated with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlog1py, xlogy

from weather_platform.domain.metrics import check_rows
from weather_platform.errors import InvariantError

Floats = NDArray[np.float64]

_TINY = 1e-12
"""Raw probabilities are kept this far from 0 and 1, where log-odds end."""

_STEPS = 100
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """``log-odds = a ln(p) - b ln(1 - p) + c``; the defaults change nothing."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.a, self.b, self.c]).all() and self.a >= 0 and self.b >= 0):
            raise InvariantError(
                f"a calibration needs finite numbers with a, b >= 0, not a={self.a}, b={self.b}, c={self.c}"
            )

    def apply(self, raw: Floats) -> Floats:
        """The calibrated probability of each raw one."""
        up, down = _log_terms(raw)
        return np.asarray(expit(self.a * up + self.b * down + self.c))

    def to_dict(self) -> dict[str, float]:
        """The three numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, float]) -> "Calibration":
        """From the three numbers."""
        return cls(a=float(numbers["a"]), b=float(numbers["b"]), c=float(numbers["c"]))


def fit_calibration(labels: NDArray[np.float32], raw: Floats) -> Calibration:
    """The maximum likelihood map on these rows, by Newton's method from the identity.

    When a slope comes out negative, which would turn the order of forecasts round, both slopes are fitted as
    one (Platt); when even that is negative the forecasts carry no information and the map is the mean label.
    """
    check_rows(labels, raw)
    up, down = _log_terms(raw)
    y = labels.astype(np.float64)
    a, b, c = _logistic([up, down], y, start=[1.0, 1.0, 0.0])
    if a < 0 or b < 0:
        a, c = _logistic([up + down], y, start=[1.0, 0.0])
        b = a
    if a < 0:
        mean = float(y.mean())
        a, b, c = 0.0, 0.0, float(np.log(mean / (1 - mean)))
    return Calibration(a, b, c)


def _log_terms(raw: Floats) -> tuple[Floats, Floats]:
    """ln(p) and -ln(1 - p)."""
    p = np.clip(raw, _TINY, 1 - _TINY)
    return np.asarray(xlogy(1.0, p)), np.asarray(-xlog1py(1.0, -p))


def _logistic(columns: list[Floats], y: Floats, start: list[float]) -> list[float]:
    """Logistic regression of ``y`` on a few columns and an intercept: damped Newton, sums in a fixed
    order."""
    design = [*columns, np.ones_like(y)]
    weights = np.array(start)

    def loss_at(at: Floats) -> tuple[float, Floats]:
        margin = np.zeros_like(y)
        for weight, column in zip(at, design, strict=True):
            margin += weight * column
        return float(np.sum(np.logaddexp(0.0, margin) - y * margin)), np.asarray(expit(margin))

    loss, p = loss_at(weights)
    for _ in range(_STEPS):
        gradient = np.array([np.sum((p - y) * column) for column in design])
        spread = p * (1 - p)
        hessian = np.array([[np.sum(spread * one * other) for other in design] for one in design])
        hessian[np.diag_indices(len(design))] += 1e-9 * max(1.0, float(np.trace(hessian)))
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while scale > 1e-6:
            trial, trial_p = loss_at(weights - scale * step)
            if trial <= loss:
                break
            scale /= 2
        else:
            break
        weights = weights - scale * step
        gained, loss, p = loss - trial, trial, trial_p
        if gained <= _TOLERANCE * (1.0 + abs(loss)):
            break
    return [float(weight) for weight in weights]
