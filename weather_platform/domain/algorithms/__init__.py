"""How a forecast is learnt: one `Algorithm` per method with its documented parameters, and the baselines.

What belongs here: fitting on given rows, predicting raw values, saving to and loading from bytes that cannot
execute code. What does not: which rows (`splits`), calibration and thresholds (`calibration`), metrics. A new
entry in `ALGORITHMS` is a new candidate everywhere.

Two promises of every fitted model: the same inputs, parameters, seed and threads give the same bytes, and a
row's prediction has the same bits alone as among a million.
"""

from collections.abc import Mapping
from types import MappingProxyType

from weather_platform.domain.algorithms.baselines import (
    BASELINES,
    CLIMATOLOGY_PRIOR_ROWS,
    Baseline,
    BaselineRows,
    FittedBaseline,
)
from weather_platform.domain.algorithms.histogram_boosting import HIST_GRADIENT_BOOSTING
from weather_platform.domain.algorithms.linear_models import LINEAR_REGRESSION, LOGISTIC_REGRESSION
from weather_platform.domain.algorithms.spec import (
    Algorithm,
    Fit,
    FitRows,
    FittedModel,
    FloatMatrix,
    Mask,
    Parameter,
    Params,
)
from weather_platform.domain.algorithms.tree_models import DECISION_TREE, RANDOM_FOREST
from weather_platform.domain.algorithms.xgboost_trees import XGBOOST, XGBoostModel

__all__ = [
    "ALGORITHMS",
    "BASELINES",
    "CLIMATOLOGY_PRIOR_ROWS",
    "XGBOOST",
    "Algorithm",
    "Baseline",
    "BaselineRows",
    "Fit",
    "FitRows",
    "FittedBaseline",
    "FittedModel",
    "FloatMatrix",
    "Mask",
    "Parameter",
    "Params",
    "XGBoostModel",
]

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            XGBOOST,
            LOGISTIC_REGRESSION,
            LINEAR_REGRESSION,
            DECISION_TREE,
            RANDOM_FOREST,
            HIST_GRADIENT_BOOSTING,
        )
    }
)
"""All learnt candidates by name."""
