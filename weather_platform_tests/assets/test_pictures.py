"""Every picture of generated weather says in its title that the weather was generated."""

from typing import Any

import dagster as dg
import pytest

from weather_platform import plots, skill_plots
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.targets import TARGETS
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.e2e.test_outages import part
from weather_platform_tests.small_models import TARGET

CANDIDATES = [name for name, algorithm in ALGORITHMS.items() if TARGETS[TARGET].task in algorithm.tasks]
OTHERS = 6
"""Besides three plots of each candidate: the board, the boards by year, the map, reliability, skill by month, drift."""


def test_every_picture_of_a_synthetic_home_says_so(home: MadeHome, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []

    def noted(figure: Any, text: str) -> None:
        titles.append(text)
        headline(figure, text)

    headline = plots.headline
    monkeypatch.setattr(plots, "headline", noted)
    monkeypatch.setattr(skill_plots, "headline", noted)
    assert part(home, "learn", "2014", "split", *CANDIDATES, "leaderboard") == ""
    assert part(home, "forecast", "2015-05-20", "forecasts", last="2015-06-30") == ""
    assert part(home, "watch", "2015-05", "matured_skill", last="2015-06") == ""
    with home.dagster() as instance:
        drift = home.graph.resolve_job_def("watch").execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("drift_report")], partition_key="2015-06"
        )
    assert drift.success
    assert len(titles) == 3 * len(CANDIDATES) + OTHERS
    assert [title for title in titles if not title.endswith("(synthetic weather)")] == []
