"""The two exams: what challenger and champion can do on the same rows, measured for the promotion decision.

On the standing exam the primary metric judges what a forecast decides (yes or no, or the value); on the fresh exam the
proper score judges what it says (the probability, or the value).

What belongs here: which rows an exam reads, and the evidence made from them. What does not: the decision
(``promotion``), the comparison itself (``skill``), loading models.
"""

from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.promotion import Contender, Evidence
from weather_platform.domain.recalibration import Recalibrated
from weather_platform.domain.skill import Comparison, compare, primary_value
from weather_platform.domain.splits import Split, day_date, day_number, is_fresh, is_standing_exam
from weather_platform.domain.targets import ForecastTarget
from weather_platform.domain.training import Predictor, TrainingData

Judged = NDArray[np.bool_] | NDArray[np.float64]


def standing_exam_days(first: date, last: date) -> list[date]:
    """The days of the standing exam from `first` to `last`, both inclusive."""
    days = np.arange(day_number(first), day_number(last) + 1, dtype=np.int32)
    return [day_date(number) for number in days[is_standing_exam(days)].tolist()]


def recalibration_evidence(
    target: ForecastTarget,
    made: Recalibrated,
    standing_rows: TrainingData,
    challenger: Contender,
    champion: tuple[Contender, Predictor],
    *,
    seed: int,
) -> Evidence:
    """Everything the decision on a new calibration looks at.

    The fresh exam is of the rows of the fit: those of each block of days are forecast by a calibration of the others.
    `standing_rows` are labelled rows of the standing exam.
    """
    rows, predictors = made.rows, (champion[1], made.predictor)
    said = champion[1].predict(rows.values).value
    before, after = (model.predict(standing_rows.values).judged for model in predictors)
    return Evidence(
        challenger=challenger,
        champion=champion[0],
        test=primary_value(target.primary_metric, rows.labels, made.examined.judged),
        baselines={},
        standing_exam=primary_value(target.primary_metric, standing_rows.labels, after),
        standing_exam_rows=len(standing_rows),
        standing=compare(
            target.primary_metric, standing_rows.labels, standing_rows.day,
            champion=before, challenger=after, seed=seed,
        ),
        fresh=compare(
            target.proper_score, rows.labels, rows.day, champion=said, challenger=made.examined.value, seed=seed
        ),
        recalibration=True,
    )  # fmt: skip


def gather_evidence(
    target: ForecastTarget,
    split: Split,
    rows: TrainingData,
    challenger: tuple[Contender, Predictor],
    champion: tuple[Contender, Predictor] | None,
    *,
    test: float,
    baselines: Mapping[str, float],
    seed: int,
) -> Evidence:
    """Everything the decision looks at. `rows` hold the standing exam and the test part of the challenger's split.

    `test` and `baselines` are the primary metric on the challenger's test rows, as its training recorded them.
    """
    known = ~np.isnan(rows.labels)
    standing = split.parts(rows.day).standing_exam & known
    standing_rows = int(np.count_nonzero(standing))
    judged = challenger[1].predict(rows.values[standing]).judged
    value = primary_value(target.primary_metric, rows.labels[standing], judged) if standing_rows else float("nan")
    if champion is None:
        return Evidence(
            challenger=challenger[0], champion=None, test=test, baselines=baselines,
            standing_exam=value, standing_exam_rows=standing_rows,
        )  # fmt: skip
    fresh = is_fresh(rows.day, split, champion[0].tuned_through) & known

    def compared(metric: str, mask: NDArray[np.bool_], judged: Callable[[Forecasts], Judged]) -> Comparison | None:
        if not mask.any():
            return None
        both = [judged(model.predict(rows.values[mask])) for model in (champion[1], challenger[1])]
        return compare(metric, rows.labels[mask], rows.day[mask], champion=both[0], challenger=both[1], seed=seed)

    return Evidence(
        challenger=challenger[0], champion=champion[0], test=test, baselines=baselines,
        standing_exam=value, standing_exam_rows=standing_rows,
        standing=compared(target.primary_metric, standing, lambda forecasts: forecasts.judged),
        fresh=compared(target.proper_score, fresh, lambda forecasts: forecasts.value),
    )  # fmt: skip
