"""Asking a served model: rows that arrive together are predicted together, batches in a thread.

What belongs here: when and where a model is called. What does not: features (`domain.live`), models
(`domain.training`), which model answers (`model_store`).

A call of a model costs almost as much for one row as for ten. So single rows wait until the event loop has run what it
had ready, never longer, and all that wait for one model are one call. A row has the same bits in any company.
"""

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.outputs import Forecasts
from weather_platform.serving.model_store import ServedModel

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one row: `Forecasts` with the threshold of its label."""

    value: float
    label: bool | None
    threshold: float | None
    low: float | None
    high: float | None


class Forecaster:
    """One per event loop."""

    def __init__(self) -> None:
        self._waiting: dict[ServedModel, list[tuple[Row, asyncio.Future[Forecast]]]] = {}

    async def one(self, model: ServedModel, row: Row) -> Forecast:
        """The forecast of one row, shape (1, features)."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._answer)
        answer: asyncio.Future[Forecast] = loop.create_future()
        self._waiting.setdefault(model, []).append((row, answer))
        return await answer

    async def many(self, model: ServedModel, rows: NDArray[np.float32]) -> Forecasts:
        """The forecasts of a batch; the event loop goes on meanwhile."""
        return await asyncio.to_thread(model.predictor.predict, rows)

    def _answer(self) -> None:
        """Everything that waits."""
        waiting, self._waiting = self._waiting, {}
        for model, asked in waiting.items():
            try:
                rows = asked[0][0] if len(asked) == 1 else np.concatenate([row for row, _ in asked])
                found = _each(model, model.predictor.predict(rows))
            except Exception as error:  # noqa: BLE001 - whoever asked gets it, and nobody else
                for _, answer in asked:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), forecast in zip(asked, found, strict=True):
                if not answer.done():  # done when whoever asked went away
                    answer.set_result(forecast)


def _each(model: ServedModel, forecasts: Forecasts) -> list[Forecast]:
    """One by one."""
    values: list[float] = forecasts.value.tolist()
    if forecasts.label is not None:
        threshold = model.predictor.contract.threshold
        return [
            Forecast(value, label, threshold, None, None)
            for value, label in zip(values, forecasts.label.tolist(), strict=True)
        ]
    low, high = forecasts.interval
    return [
        Forecast(value, None, None, *ends) for value, *ends in zip(values, low.tolist(), high.tolist(), strict=True)
    ]
