"""The pictures of skill over time: readable, the same bytes each time, and different when the skill is."""

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from weather_platform import skill_plots
from weather_platform.domain.leaderboard import Entry
from weather_platform.domain.matured import RELIABILITY_SCHEMA
from weather_platform.domain.targets import TARGETS
from weather_platform.skill_plots import matured_reliability_png, skill_by_month_png, skill_by_year_png
from weather_platform_tests.checks.test_matured_skill import matured, matured_row
from weather_platform_tests.small_models import TARGET

RAIN = TARGETS[TARGET]


def entry(name: str, rank: int | None, test: float, low: float | None = None, high: float | None = None) -> Entry:
    return Entry(
        name=name, rank=rank, metric="f1", validation=None if rank is None else test, test=test, test_low=low,
        test_high=high, test_rows=100,
    )  # fmt: skip


def boards(f1: float = 0.7) -> dict[int, list[Entry]]:
    models = [entry("xgboost", 1, f1, f1 - 0.02, f1 + 0.02), entry("decision_tree", 2, 0.6, 0.55, 0.65)]
    return {year: [*models, entry("climatology", None, 0.3)] for year in (2013, 2014, 2015)}


def is_readable(png: bytes) -> bool:
    width, height = struct.unpack(">II", png[16:24])
    return png.startswith(b"\x89PNG\r\n\x1a\n") and 600 <= width <= 2000 and 250 <= height <= 2000


def test_the_course_of_test_years_is_drawn_with_models_and_baselines_that_come_and_go() -> None:
    png = skill_by_year_png(RAIN, boards(), "")
    assert is_readable(png)
    assert png == skill_by_year_png(RAIN, boards(), "")
    assert png != skill_by_year_png(RAIN, boards(0.71), "")
    assert is_readable(skill_by_year_png(RAIN, boards() | {2016: [entry("linear", 1, 0.5)]}, ""))


@pytest.mark.parametrize("kinds", [["live"], ["live", "hindcast"]])
def test_months_and_reliability_are_drawn_for_the_kinds_there_are(kinds: list[str]) -> None:
    found = matured([matured_row(kind=kind, month=month) for kind in kinds for month in ("2015-05", "2015-06")], {4: 1})
    by_month, reliability = (
        skill_by_month_png(RAIN, found.skill, "t"),
        matured_reliability_png(RAIN, found.reliability, "t"),
    )
    assert is_readable(by_month)
    assert is_readable(reliability)
    assert by_month == skill_by_month_png(RAIN, found.skill, "t")


@pytest.mark.parametrize("observed", [(25.8, 28.0), (11.0, 14.5), (20.4, 21.9)])
def test_observed_means_of_values_lie_inside_the_picture_however_far_from_the_forecasts(
    observed: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"target": "max_temp_tomorrow", "month": "2015-06", "model_version": 1, "kind": "live", "state": "NSW"}
    bins = pa.Table.from_pylist(
        [
            row | {"bin": int(forecast), "matured": 2, "forecast_sum": 2 * forecast, "observed_sum": 2 * mean}
            for forecast, mean in zip((20.2, 21.4), observed, strict=True)
        ],
        schema=RELIABILITY_SCHEMA,
    )
    drawn: list[Any] = []
    monkeypatch.setattr(skill_plots, "png_of", drawn.append)
    matured_reliability_png(TARGETS["max_temp_tomorrow"], bins, "t")
    axes = drawn[0].axes[0]
    perfect, line = axes.lines
    np.testing.assert_allclose(line.get_ydata(), observed)
    low, high = axes.get_ylim()
    assert axes.get_xlim() == (low, high)
    assert list(perfect.get_ydata()) == [low, high]
    assert low < min(20, *observed)
    assert high > max(22, *observed)
