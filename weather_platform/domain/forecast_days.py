"""The days that model versions have forecast, and what the matured skill of a month is measured of.

What belongs here: plain values about days. What does not: the forecasts themselves (``outputs``), and their worth
(``matured``).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from weather_platform.domain.day_versions import DayVersions

FORECAST_DAYS = 14
"""Newest days that a version without forecasts begins with."""


@dataclass(frozen=True, slots=True)
class ForecastDay:
    """A day that a model version has forecast: how many forecasts, and from which version of the features table.

    The version is None for forecasts that an older version of the platform made.
    """

    day: date
    model_version: int
    forecasts: int
    features_lake_version: int | None


def state_of_month(days: Iterable[ForecastDay], labels: DayVersions) -> str:
    """What is there to measure: which forecasts, and the version in which an answer to them last changed.

    `days` are those of the month; two months with the same text have the same matured skill.
    """
    ordered = sorted(days, key=lambda each: (each.day, each.model_version))
    text = "\n".join(
        f"{each.day} {each.model_version} {each.forecasts} {each.features_lake_version}" for each in ordered
    )
    answered = labels.newest({each.day for each in ordered})
    return f"labels {answered}, forecasts {hashlib.sha256(text.encode()).hexdigest()[:16]}"
