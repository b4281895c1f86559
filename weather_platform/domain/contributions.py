"""What each feature adds to one forecast, exactly, or not at all.

What belongs here: the question and its unit. What does not: how an algorithm answers it (`algorithms`).

Contributions are of the raw value, before calibration: for a classification they are log-odds, for a regression they
have the unit of the target. The base is what the model says before it has seen a feature, and base and contributions
add up to the raw value.

* boosted trees: Shapley values over the paths of the trees, base the mean over training. Those of XGBoost are computed
  in float32 by XGBoost, and add up within its rounding (about 1e-6); those of scikit-learn in float64.
* linear models: weight times standardised value, with that of "is missing" counted to its feature; base the intercept,
  which is what an average row gives.
* other algorithms have no exact answer here: NotExactError.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.algorithms.spec import Explained
from weather_platform.domain.training import Predictor
from weather_platform.errors import InvariantError, NotExactError

LOG_ODDS = "log-odds"
"""The unit of the contributions to a probability."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """``base`` and all of ``of_feature`` add up to ``raw_value``; all are in ``unit``.

    ``of_feature`` is in the order of the contract's feature names.
    """

    base: float
    of_feature: NDArray[np.float64]
    raw_value: float
    unit: str


def contributions(predictor: Predictor, row: NDArray[np.float32]) -> Contributions:
    """The contributions to the forecast of one row, shape (1, features); NotExactError without an exact answer."""
    contract, model = predictor.contract, predictor.model
    if row.shape != (1, len(contract.feature_names)):
        raise InvariantError(f"contributions are of one row of {len(contract.feature_names)} features, not {row.shape}")
    if not isinstance(model, Explained):
        raise NotExactError(
            f"{contract.algorithm} has no exact contributions; boosted trees and linear models have them"
        )
    found = model.explain(row)
    unit = LOG_ODDS if contract.task == "classification" else contract.unit
    return Contributions(found.base, found.of_feature, found.raw, unit)
