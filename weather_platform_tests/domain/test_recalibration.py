"""New calibration on later days: what it is fitted on, what it changes and what not, and that its exam is honest."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from scipy.special import expit, logit

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.exams import recalibration_evidence
from weather_platform.domain.outputs import ProbabilityOutput, ValueOutput
from weather_platform.domain.promotion import FRESH_EXAM_MIN_DAYS, Contender, Gates, decide
from weather_platform.domain.recalibration import (
    BLOCK_DAYS,
    LEAST_DAYS,
    MOST_DAYS,
    Recalibrated,
    calibration_rows,
    forecasts_of_blocks,
    recalibrated,
)
from weather_platform.domain.splits import (
    day_date,
    day_number,
    is_fresh,
    is_standing_exam,
    near_standing_exam,
    plan_newest_split,
)
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import Contract, Predictor, TrainedModel, TrainingConfig, TrainingData, train
from weather_platform.errors import NotEnoughDataError
from weather_platform_tests.domain.learning import FIRST, small_data, small_values

RAIN, MAX_TEMP = TARGETS["rain_tomorrow"], TARGETS["max_temp_tomorrow"]
AS_OF = date(2012, 6, 30)
SPLIT = plan_newest_split(2012, FIRST, AS_OF - timedelta(days=1), AS_OF)
THROUGH = date(2012, 9, 30)
CONFIG = TrainingConfig(seed=1, threads=1, params={"n_estimators": 40, "eta": 0.2, "max_depth": 3}, resamples=5)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return small_data(stations=12)


@pytest.fixture(scope="module")
def rain(data: TrainingData) -> TrainedModel:
    return train(RAIN, ALGORITHMS["xgboost"], data, SPLIT, CONFIG)


@pytest.fixture(scope="module")
def values() -> TrainingData:
    return small_values(stations=12)


@pytest.fixture(scope="module")
def temperature(values: TrainingData) -> TrainedModel:
    return train(MAX_TEMP, ALGORITHMS["xgboost"], values, SPLIT, CONFIG)


def chosen(data: TrainingData, through: date = THROUGH) -> TrainingData:
    return data.only(calibration_rows(data, SPLIT.tuned_through, SPLIT.test.last, through))


def made_of(model: TrainedModel, rows: TrainingData) -> Recalibrated:
    return recalibrated(model.predictor, model.model_bytes, model.golden, rows)


def wetter(data: TrainingData) -> TrainingData:
    """Half of the dry days after the test part become wet."""
    later = (data.day > day_number(SPLIT.test.last)) & (np.random.default_rng(3).random(len(data)) < 0.5)
    return replace(data, labels=np.where(later & (data.labels == 0), 1, data.labels).astype(np.float32))


# ---------------------------------------------------------------- which rows


def test_it_is_fitted_on_the_labelled_days_since_the_test_outside_of_the_standing_exam(data: TrainingData) -> None:
    rows = chosen(data)
    assert rows.day.min() > day_number(SPLIT.test.last)
    assert day_date(int(rows.day.max())) == THROUGH
    assert LEAST_DAYS <= len(np.unique(rows.day)) <= MOST_DAYS
    assert not near_standing_exam(rows.day).any()
    assert not np.isnan(rows.labels).any()


def test_of_many_days_the_newest_90_are_taken(data: TrainingData) -> None:
    assert len(np.unique(chosen(data, date(2012, 12, 30)).day)) == MOST_DAYS


def test_of_few_days_since_the_test_it_goes_on_with_test_days_which_had_no_say(data: TrainingData) -> None:
    rows = chosen(data, date(2012, 7, 31))
    assert len(np.unique(rows.day)) == LEAST_DAYS
    assert day_number(SPLIT.tuned_through) + 1 < rows.day.min() < day_number(SPLIT.test.last)


def test_too_few_days_are_refused(data: TrainingData) -> None:
    with pytest.raises(NotEnoughDataError, match="needs 60 labelled days after 2012-05-01 up to 2012-06-20"):
        calibration_rows(data, date(2012, 5, 1), date(2012, 5, 1), date(2012, 6, 20))


def test_days_before_the_end_of_the_test_alone_are_refused(data: TrainingData) -> None:
    with pytest.raises(NotEnoughDataError, match="no labelled day after 2012-06-29, until when the model was tested"):
        calibration_rows(data, SPLIT.tuned_through, SPLIT.test.last, SPLIT.test.last)
    assert calibration_rows(data, SPLIT.tuned_through, SPLIT.test.last, SPLIT.test.last + timedelta(days=1)).any()


# ---------------------------------------------------------------- what changes


def test_of_a_probability_two_numbers_and_the_days_change_and_nothing_else(
    rain: TrainedModel, data: TrainingData
) -> None:
    made = made_of(rain, chosen(wetter(data)))
    before, after = rain.contract, made.predictor.contract
    assert isinstance(before.output, ProbabilityOutput)
    assert isinstance(after.output, ProbabilityOutput)
    assert after.output.threshold == before.output.threshold
    assert after.output.calibration.intercept > before.output.calibration.intercept
    assert after.tuned_through == after.tested_through == THROUGH.isoformat()
    undone = replace(
        after, output=before.output, tuned_through=before.tuned_through, tested_through=before.tested_through
    )
    assert undone == before
    assert made.predictor.digest != rain.digest


def test_of_a_value_the_bias_changes_and_the_interval_moves_with_it(
    temperature: TrainedModel, values: TrainingData
) -> None:
    rows = chosen(replace(values, labels=values.labels + np.float32(4)))
    made = made_of(temperature, rows)
    output = made.predictor.contract.output
    assert isinstance(output, ValueOutput)
    before, after = temperature.predictor.predict(rows.values), made.predictor.predict(rows.values)
    assert np.mean(after.value - rows.labels) == pytest.approx(0, abs=1e-6)
    assert output.bias == pytest.approx(-np.mean(before.value - rows.labels))
    assert output.bias > 1
    np.testing.assert_allclose(after.value - before.value, output.bias)
    low, high = after.interval
    assert (low <= after.value).all()
    assert (after.value <= high).all()


@pytest.mark.parametrize("task", ["rain", "temperature"])
def test_it_comes_back_from_its_two_files_and_a_row_has_the_same_bits_alone(
    task: str, request: pytest.FixtureRequest
) -> None:
    model, rows = request.getfixturevalue(task), request.getfixturevalue("data" if task == "rain" else "values")
    made = made_of(model, chosen(wetter(rows) if task == "rain" else rows))
    back = Predictor.load(made.contract_bytes, model.model_bytes, digest=made.predictor.digest)
    many = made.predictor.predict(rows.values).value
    for at in range(0, len(rows), 501):
        assert back.predict(rows.values[at : at + 1]).value.tobytes() == many[at : at + 1].tobytes()
    np.testing.assert_array_equal(back.predict(made.golden.values).value, made.golden.expected)
    again = made_of(model, chosen(wetter(rows) if task == "rain" else rows))
    assert (again.predictor.digest, again.contract_bytes) == (made.predictor.digest, made.contract_bytes)


def test_a_contract_without_a_bias_has_the_bytes_it_had_before_there_was_one(temperature: TrainedModel) -> None:
    assert "bias" not in temperature.contract.to_dict()
    assert Contract.from_bytes(temperature.contract_bytes).to_bytes() == temperature.contract_bytes


# ---------------------------------------------------------------- the exam


def test_no_row_is_forecast_by_a_calibration_that_has_seen_its_block_or_the_days_beside_it() -> None:
    day = np.repeat(np.arange(100, 160, dtype=np.int32), 20)
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.05, 0.95, len(day))
    labels = (rng.random(len(day)) < raw).astype(np.float32)
    output = ProbabilityOutput.fit(labels, raw)
    said = forecasts_of_blocks(output, labels, raw, day)
    for block in range(6):
        first, last = 100 + block * BLOCK_DAYS, 100 + (block + 1) * BLOCK_DAYS - 1
        own = (day >= first) & (day <= last)
        turned = labels.copy()
        hidden = (day >= first - 1) & (day <= last + 1)
        turned[hidden] = 1 - turned[hidden]
        np.testing.assert_array_equal(forecasts_of_blocks(output, turned, raw, day).value[own], said.value[own])
        seen = labels.copy()
        seen[~hidden] = 1 - seen[~hidden]
        assert (forecasts_of_blocks(output, seen, raw, day).value[own] != said.value[own]).any()


def judged(model: TrainedModel, rows: TrainingData, data: TrainingData) -> tuple[str, str]:
    target = TARGETS[model.target]
    made = made_of(model, rows)
    standing = data.only(is_standing_exam(data.day) & ~np.isnan(data.labels) & (data.day <= day_number(THROUGH)))
    champion = Contender("1", model.digest, SPLIT.tuned_through)
    challenger = Contender("2", made.predictor.digest, THROUGH, SPLIT.tuned_through)
    evidence = recalibration_evidence(target, made, standing, challenger, (champion, model.predictor), seed=1)
    decision = decide(evidence, Gates.of(target))
    return decision.verdict, decision.reasons[0]


def test_a_wetter_climate_is_answered_after_two_months(rain: TrainedModel, data: TrainingData) -> None:
    rows = chosen(wetter(data), date(2012, 8, 31))
    assert len(np.unique(rows.day)) == LEAST_DAYS
    verdict, reason = judged(rain, rows, data)
    assert verdict == "DEPLOY"
    assert "lower in 100.0% of bootstraps" in reason


def test_a_warmer_climate_is_answered_too(temperature: TrainedModel, values: TrainingData) -> None:
    rows = chosen(replace(values, labels=values.labels + np.float32(1)))
    assert judged(temperature, rows, values)[0] == "DEPLOY"


def test_a_calibration_that_makes_other_days_worse_is_not_promoted(
    temperature: TrainedModel, values: TrainingData
) -> None:
    rows = chosen(values)
    block = (rows.day - rows.day.min()) // BLOCK_DAYS
    raw = temperature.predictor.predict(rows.values).value
    # Blocks that are off by turns: no bias on the whole, and what the others teach is wrong for each.
    off = np.where(block == 0, 8.0, -8.0 * np.count_nonzero(block == 0) / np.count_nonzero(block > 0))
    verdict, reason = judged(temperature, replace(rows, labels=(raw + off).astype(np.float32)), values)
    assert (verdict, "clearly worse" in reason) == ("SKIP", True)


def test_a_shift_of_the_log_odds_is_found() -> None:
    rng = np.random.default_rng(1)
    raw = rng.uniform(0.02, 0.9, 20_000)
    labels = (rng.random(len(raw)) < expit(logit(raw) + 0.5)).astype(np.float32)
    found = ProbabilityOutput.fit_baseline(labels, raw).recalibrated(labels, raw).calibration
    assert found.slope == pytest.approx(1, abs=0.05)
    assert found.intercept == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("month_end", "later"), [(date(2011, 12, 31), date(2012, 2, 28)), (THROUGH, date(2012, 11, 30))]
)
def test_two_months_after_it_a_retrained_model_has_days_enough_that_neither_has_seen(
    month_end: date, later: date
) -> None:
    retrained = plan_newest_split(later.year, FIRST, later - timedelta(days=1), later)
    days = np.arange(day_number(FIRST), day_number(later) + 1, dtype=np.int32)
    assert np.count_nonzero(is_fresh(days, retrained, month_end)) >= FRESH_EXAM_MIN_DAYS
