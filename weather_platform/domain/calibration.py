"""From raw probabilities to ones that mean what they say: a monotone map fitted on the validation part only.

What belongs here: fitting the map, applying it, its plain numbers. What does not: thresholds and metrics.

The map is Platt scaling of the log-odds: log-odds = slope * raw log-odds + intercept with slope >= 0. It
contains the identity, so it can leave a good model alone, and never changes the order of two forecasts.
Measured on test years 2011 to 2014 of the real table (mean ECE; Brier): none 0.0138; 0.09402, Platt 0.0105;
0.09386, beta calibration with its third number 0.0107; 0.09389. It is applied by functions whose loops are
scalar: a row's bits do not depend on how many rows are calibrated with it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from weather_platform.domain.metrics import check_rows
from weather_platform.errors import InvariantError

Floats = NDArray[np.float64]

_TINY = 1e-12
"""Raw probabilities are kept this far from 0 and 1, where log-odds end."""

_STEPS = 100
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Calibration:
    """``log-odds = slope * raw log-odds + intercept``; the defaults change nothing."""

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite([self.slope, self.intercept]).all() and self.slope >= 0):
            raise InvariantError(
                f"a calibration needs a finite slope >= 0 and a finite intercept, not {self.slope} and {self.intercept}"
            )

    def apply(self, raw: Floats) -> Floats:
        """The calibrated probability of each raw one; the very same one where nothing is to change."""
        if (self.slope, self.intercept) == (1.0, 0.0):
            return raw
        return np.asarray(expit(self.slope * _log_odds(raw) + self.intercept))

    def to_dict(self) -> dict[str, float]:
        """The two numbers."""
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, float]) -> "Calibration":
        """From the two numbers."""
        return cls(slope=float(numbers["slope"]), intercept=float(numbers["intercept"]))


def fit_calibration(labels: NDArray[np.float32], raw: Floats) -> Calibration:
    """The maximum likelihood map on these rows, by damped Newton steps from the identity.

    A negative slope would turn the order of forecasts round; such forecasts carry no information, and the map
    is the mean label.
    """
    check_rows(labels, raw)
    x, y = _log_odds(raw), labels.astype(np.float64)
    slope, intercept = 1.0, 0.0
    loss, p = _loss(slope, intercept, x, y)
    for _ in range(_STEPS):
        step = _newton_step(p, x, y)
        scale = 1.0
        trial, trial_p = _loss(slope - step[0], intercept - step[1], x, y)
        while trial > loss and scale > _TOLERANCE:
            scale /= 2
            trial, trial_p = _loss(slope - scale * step[0], intercept - scale * step[1], x, y)
        gained = loss - trial
        if gained <= _TOLERANCE * loss:
            break
        slope, intercept, loss, p = slope - scale * step[0], intercept - scale * step[1], trial, trial_p
    if slope < 0:
        return Calibration(0.0, float(logit(y.mean())))
    return Calibration(slope, intercept)


def _log_odds(raw: Floats) -> Floats:
    return np.asarray(logit(np.minimum(np.maximum(raw, _TINY), 1 - _TINY)))


def _loss(slope: float, intercept: float, x: Floats, y: Floats) -> tuple[float, Floats]:
    """Negative log-likelihood and the probabilities it belongs to."""
    margin = slope * x + intercept
    return float(np.sum(np.logaddexp(0.0, margin) - y * margin)), np.asarray(expit(margin))


def _newton_step(p: Floats, x: Floats, y: Floats) -> tuple[float, float]:
    """Hessian inverse times gradient, the 2 by 2 system written out."""
    spread = p * (1 - p)
    down_slope, down_intercept = float(np.sum((p - y) * x)), float(np.sum(p - y))
    ss, si, ii = float(np.sum(spread * x * x)), float(np.sum(spread * x)), float(np.sum(spread))
    ridge = 1e-9 * (ss + ii) + 1e-12
    ss, ii = ss + ridge, ii + ridge
    determinant = ss * ii - si * si
    return (
        (ii * down_slope - si * down_intercept) / determinant,
        (ss * down_intercept - si * down_slope) / determinant,
    )
