"""The calibration of a model that serves, fitted again on the days since: two numbers of a probability, an offset of a
value.

What belongs here: which rows it is fitted on, the new contract, and the forecasts by which it is examined. What does
not: the maps themselves (`outputs`), the decision (`promotion`), reading rows and registering (`resources`).

A climate that has shifted makes forecasts too high or too low everywhere, and a few numbers end that after two months,
where a model needs a year of new rows. The model file stays as it is, and so does the threshold: a probability that
means what it says again needs no other one.

The exam has to be of rows that neither model has seen, and the days since are few: all of them are needed for the fit.
So they are cut into blocks of days. The forecasts of a block are made by a calibration of all other blocks, without the
days next to it, and the champion's are compared with these. What serves is fitted on all blocks.
"""

from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from weather_platform.domain.algorithms import Mask
from weather_platform.domain.metrics import Floats
from weather_platform.domain.outputs import Days, Forecasts, Labels, Output
from weather_platform.domain.splits import Span, day_date, day_number, near_standing_exam
from weather_platform.domain.training import GoldenSample, Predictor, TrainingData, sha256
from weather_platform.errors import NotEnoughDataError

MOST_DAYS, LEAST_DAYS = 90, 60
"""Days that a calibration is fitted on. Measured without a shift: 60 to 90 days cost 0 to 0.0002 of Brier, 30 up to
0.0015."""

BLOCK_DAYS = 10
"""Days of a block: longer than most spells of weather, and six of them at least."""


@dataclass(frozen=True, eq=False)
class Recalibrated:
    """A model with another calibration: its contract, its golden sample, and the forecasts of rows of other blocks.

    ``days`` are the first and the last one of the fit; ``examined`` are forecasts of the rows of ``rows`` (those of the
    fit, in their order), each by a calibration that has not seen it.
    """

    predictor: Predictor
    contract_bytes: bytes
    golden: GoldenSample
    rows: TrainingData
    examined: Forecasts
    days: tuple[date, date]


def calibration_rows(rows: TrainingData, tuned_through: date, tested_through: date, through: date) -> Mask:
    """The labelled rows to fit on: the newest days up to ``through``, at most MOST_DAYS of them.

    They are those since the model was tested; when these are fewer than LEAST_DAYS, days of its test part are taken as
    well, which had no say in it. The standing exam and its embargo stay out, as they do of every tuning.
    """
    usable = between(rows, day_date(day_number(tuned_through) + 2), through)
    days = np.unique(rows.day[usable])
    if len(days) < LEAST_DAYS:
        raise NotEnoughDataError(
            f"new calibration needs {LEAST_DAYS} labelled days after {tuned_through} up to {through}, and there are "
            f"{len(days)}; decide on a later month"
        )
    since = int(np.count_nonzero(days > day_number(tested_through)))
    if not since:
        raise NotEnoughDataError(
            f"there is no labelled day after {tested_through}, until when the model was tested, up to {through}; "
            "decide on a later month"
        )
    first = int(days[-min(max(since, LEAST_DAYS), MOST_DAYS)])
    return between(rows, day_date(first), through)


def between(rows: TrainingData, first: date, last: date) -> Mask:
    """The labelled rows of these days, both inclusive, outside of the standing exam."""
    return Span(first, last).contains(rows.day) & ~near_standing_exam(rows.day) & ~np.isnan(rows.labels)


def recalibrated(champion: Predictor, model_bytes: bytes, golden: GoldenSample, rows: TrainingData) -> Recalibrated:
    """The model with its calibration fitted on these rows. The same rows give the same digest."""
    raw = champion.model.predict_raw(rows.values)
    output = champion.contract.output
    first, last = (day_date(int(day)) for day in (rows.day.min(), rows.day.max()))
    contract = replace(
        champion.contract,
        output=output.recalibrated(rows.labels, raw),
        tuned_through=last.isoformat(),
        tested_through=last.isoformat(),
    )
    contract_bytes = contract.to_bytes()
    predictor = Predictor.load(contract_bytes, model_bytes, digest=sha256(contract_bytes))
    return Recalibrated(
        predictor=predictor,
        contract_bytes=contract_bytes,
        golden=GoldenSample(golden.values, predictor.predict(golden.values).value),
        rows=rows,
        examined=forecasts_of_blocks(output, rows.labels, raw, rows.day),
        days=(first, last),
    )


def forecasts_of_blocks(output: Output, labels: Labels, raw: Floats, day: Days) -> Forecasts:
    """The forecast of each row by a calibration fitted on the rows of other blocks of days, but the days next to it."""
    block = (day - day.min()) // BLOCK_DAYS
    parts: list[tuple[Mask, Forecasts]] = []
    for each in np.unique(block):
        own = block == each
        apart = (day < day[own].min() - 1) | (day > day[own].max() + 1)
        parts.append((own, output.recalibrated(labels[apart], raw[apart]).apply(raw[own])))

    def joined(name: str) -> np.ndarray | None:
        if getattr(parts[0][1], name) is None:
            return None
        whole = np.empty(len(raw), dtype=getattr(parts[0][1], name).dtype)
        for own, forecasts in parts:
            whole[own] = getattr(forecasts, name)
        return whole

    value = joined("value")
    assert value is not None  # noqa: S101 - every forecast has one
    return Forecasts(value, label=joined("label"), low=joined("low"), high=joined("high"))
