"""Rows that are asked for together are one call of the model, with the bits that each has alone."""

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import Predictor
from weather_platform.errors import InvariantError
from weather_platform.serving.forecasting import Forecast, Forecaster
from weather_platform.serving.model_store import ServedModel
from weather_platform_tests.domain.test_contributions import predictor
from weather_platform_tests.small_models import TARGET, small_data, small_model

WIDTH = small_data().values.shape[1]


@dataclass(frozen=True, eq=False)
class Counting(Predictor):
    """A model that writes down how many rows each call had, and on which thread."""

    calls: list[tuple[int, str]] = field(default_factory=list)

    def predict(self, values: NDArray[np.float32]) -> Forecasts:
        self.calls.append((len(values), threading.current_thread().name))
        return super().predict(values)


def served(model: Predictor, target: str = TARGET) -> ServedModel:
    return ServedModel(
        target=TARGETS[target],
        alias="Production",
        version=1,
        digest=model.digest,
        run_id="run",
        algorithm=model.contract.algorithm,
        predictor=model,
        contract_bytes=model.contract.to_bytes(),
        tested_through=0,
        metrics={},
        registered_at=datetime(2026, 1, 1, tzinfo=UTC),
        since=datetime(2026, 1, 1, tzinfo=UTC),
    )


def counting(algorithm: str = "xgboost") -> tuple[ServedModel, list[tuple[int, str]]]:
    model = small_model(algorithm=algorithm).predictor
    counted = Counting(model.contract, model.model, model.digest)
    return served(counted), counted.calls


def rows(count: int) -> list[NDArray[np.float32]]:
    return [small_data().values[i : i + 1] for i in range(count)]


def together(model: ServedModel, asked: list[NDArray[np.float32]]) -> list[Forecast]:
    async def ask() -> list[Forecast]:
        forecaster = Forecaster(threads=2)
        return await asyncio.gather(*(forecaster.one(model, row) for row in asked))

    return asyncio.run(ask())


@pytest.mark.parametrize("algorithm", ["xgboost", "logistic_regression", "random_forest", "hist_gradient_boosting"])
def test_rows_asked_for_together_are_one_call_and_have_the_bits_they_have_alone(algorithm: str) -> None:
    model, calls = counting(algorithm)
    asked = rows(40)
    found = together(model, asked)
    assert [count for count, _ in calls] == [40]
    expected = small_model(algorithm=algorithm).predictor.predict(np.concatenate(asked))
    assert [forecast.value for forecast in found] == expected.value.tolist()
    assert [forecast.label for forecast in found] == expected.decision.tolist()
    assert {forecast.threshold for forecast in found} == {model.predictor.contract.threshold}
    assert {(forecast.low, forecast.high) for forecast in found} == {(None, None)}
    assert [together(model, [row])[0] for row in asked] == found


def test_a_value_comes_with_its_interval_and_without_a_label() -> None:
    regression = predictor("xgboost", "regression")
    row = np.zeros((1, 5), dtype=np.float32)
    expected = regression.predict(row)
    low, high = (end[0] for end in expected.interval)
    found = together(served(regression, "max_temp_tomorrow"), [row])
    assert found == [Forecast(expected.value[0], None, None, low, high)]


def test_rows_that_come_one_after_the_other_do_not_wait_for_more() -> None:
    model, calls = counting()

    async def ask() -> None:
        forecaster = Forecaster(threads=2)
        for row in rows(3):
            await forecaster.one(model, row)

    asyncio.run(ask())
    assert [count for count, _ in calls] == [1, 1, 1]


def test_each_model_answers_its_own_rows() -> None:
    one, one_calls = counting("xgboost")
    other, other_calls = counting("logistic_regression")

    async def ask() -> list[Forecast]:
        forecaster = Forecaster(threads=2)
        return await asyncio.gather(*(forecaster.one(m, row) for row in rows(5) for m in (one, other)))

    found = asyncio.run(ask())
    assert [count for count, _ in one_calls + other_calls] == [5, 5]
    for position, model in enumerate((one, other)):
        expected = model.predictor.predict(np.concatenate(rows(5))).value.tolist()
        assert [forecast.value for forecast in found[position::2]] == expected


def test_an_error_reaches_those_who_asked_that_model_and_no_others() -> None:
    model, _ = counting("xgboost")
    other, _ = counting("logistic_regression")

    async def ask() -> list[Forecast | BaseException]:
        forecaster = Forecaster(threads=2)
        wrong = np.zeros((1, WIDTH + 1), dtype=np.float32)
        first = await asyncio.gather(
            forecaster.one(model, wrong), forecaster.one(other, rows(1)[0]), return_exceptions=True
        )
        mixed = await asyncio.gather(
            forecaster.one(model, wrong), forecaster.one(model, rows(1)[0]), return_exceptions=True
        )
        return [*first, *mixed, await forecaster.one(model, rows(1)[0])]

    refused, answered, *mixed, after = asyncio.run(ask())
    assert isinstance(refused, InvariantError)
    assert isinstance(answered, Forecast)
    assert [type(each) for each in mixed] == [ValueError, ValueError]
    assert isinstance(after, Forecast)


def test_whoever_goes_away_takes_nobody_along() -> None:
    model, calls = counting()

    async def ask() -> list[Forecast | BaseException]:
        forecaster = Forecaster(threads=2)
        tasks = [asyncio.create_task(forecaster.one(model, row)) for row in rows(3)]
        await asyncio.sleep(0)  # all have asked, none is answered
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, gone, last = asyncio.run(ask())
    assert isinstance(gone, asyncio.CancelledError)
    assert [type(each) for each in (first, last)] == [Forecast, Forecast]
    assert [count for count, _ in calls] == [3]


def test_a_batch_is_predicted_beside_the_event_loop() -> None:
    model, calls = counting()
    batch = small_data().values[:1000]
    found = asyncio.run(Forecaster(threads=2).many(model, batch))
    assert np.array_equal(found.value, small_model().predictor.predict(batch).value)
    ((count, thread),) = calls
    assert count == 1000
    assert thread != threading.main_thread().name


def test_a_large_batch_is_shared_among_threads_and_has_the_same_bits() -> None:
    model, calls = counting()
    batch = small_data().values[:3001]
    for threads, parts in ((1, [3001]), (2, [1500, 1501]), (8, [1000, 1000, 1001])):
        calls.clear()
        found = asyncio.run(Forecaster(threads).many(model, batch))
        expected = small_model().predictor.predict(batch)
        assert sorted(count for count, _ in calls) == parts
        assert np.array_equal(found.value, expected.value)
        assert np.array_equal(found.decision, expected.decision)
