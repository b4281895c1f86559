"""Asking a served model: rows that arrive together are predicted together, batches in threads.

What belongs here: when and where a model is called. What does not: features (`domain.live`), models
(`domain.training`), which model answers (`model_store`).

A call of a model costs almost as much for one row as for ten. So single rows wait until the event loop has run what it
had ready, never longer, and all that wait for one model are one call. A row has the same bits in any company.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weather_platform.domain.outputs import Forecasts
from weather_platform.serving.model_store import ServedModel
from weather_platform.settings import Settings

Row = NDArray[np.float32]

_ROWS_OF_A_THREAD = 1_000
"""A thread of its own is worth it for so many rows."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast of one row: `Forecasts` with the threshold of its label."""

    value: float
    label: bool | None
    threshold: float | None
    low: float | None
    high: float | None


class Forecaster:
    """One per event loop. A batch is shared among at most `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._waiting: dict[ServedModel, list[tuple[Row, asyncio.Future[Forecast]]]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> "Forecaster":
        """That of a worker: by default it has its share of the cores."""
        share = (os.cpu_count() or 1) // settings.serving_workers
        return cls(settings.serving_threads or max(1, share))

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
        parts = np.array_split(rows, max(1, min(self._threads, len(rows) // _ROWS_OF_A_THREAD)))
        found = await asyncio.gather(*(asyncio.to_thread(model.predictor.predict, part) for part in parts))
        return found[0] if len(found) == 1 else _joined(found)

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


def _joined(parts: Sequence[Forecasts]) -> Forecasts:
    """One after the other."""

    def column(name: str) -> NDArray[Any] | None:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    return Forecasts(**{field.name: column(field.name) for field in fields(Forecasts)})  # type: ignore[arg-type]


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
