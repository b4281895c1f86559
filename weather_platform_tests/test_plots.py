import struct
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context

from weather_platform import plots as plots_module
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.leaderboard import leaderboard
from weather_platform.domain.stations import STATIONS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainedModel, TrainingConfig, train
from weather_platform.plots import (
    STYLE,
    StationDots,
    drift_png,
    importance_png,
    leaderboard_png,
    model_plots,
    station_map_png,
)
from weather_platform_tests.domain.learning import small_data, small_split, small_values
from weather_platform_tests.domain.test_leaderboard import measured
from weather_platform_tests.drift_reports import verdict_of

CONFIG = TrainingConfig(seed=1, threads=1, params={"n_estimators": 10, "max_depth": 2}, resamples=5)
OF_TASK = {
    "rain_tomorrow": {"reliability", "precision_recall", "importance"},
    "max_temp_tomorrow": {"forecast_against_observed", "errors_by_month", "importance"},
}


@pytest.fixture(scope="module", params=sorted(OF_TASK))
def model(request: pytest.FixtureRequest) -> TrainedModel:
    target = TARGETS[request.param]
    rows = small_data() if target.task == "classification" else small_values()
    return train(target, ALGORITHMS["xgboost"], rows, small_split(), CONFIG)


def test_every_plot_is_a_png_of_readable_size_and_the_same_bytes_each_time(model: TrainedModel) -> None:
    plots = model_plots(model, f"{model.target}, xgboost, 2012")
    assert set(plots) == OF_TASK[model.target]
    for png in plots.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", png[16:24])
        assert 600 <= width <= 2000
        assert 250 <= height <= 2000
    assert plots == model_plots(model, f"{model.target}, xgboost, 2012")
    assert plots != model_plots(model, "another title")


@pytest.mark.parametrize(
    "title",
    ["short", "max_temp_tomorrow/hist_gradient_boosting 2026 (synthetic weather)", "Rain tomorrow\nissued today"],
)
def test_no_plot_cuts_the_end_of_its_title(model: TrainedModel, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end says whether the weather was generated."""
    drawn: list[Any] = []
    monkeypatch.setattr(plots_module, "png_of", drawn.append)
    model_plots(model, title)
    for figure in drawn:
        [headline] = [text for text in figure.texts if title in text.get_text()]
        box = headline.get_window_extent(figure.canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.get_figwidth() * figure.dpi
        assert (headline.get_fontsize() < 11.5) == (len(title) > 40)


def test_no_plot_cuts_a_label_of_its_axes(model: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of features and algorithms are as long as people make them."""
    drawn: list[Any] = []
    monkeypatch.setattr(plots_module, "png_of", drawn.append)
    wide = replace(model, importance={"W" * 30: 0.9, "i" * 60: 0.1})
    model_plots(wide, "t")
    entrants = [measured("W" * 30, validation_f1=0.7), measured("b", validation_f1=0.6)]
    leaderboard_png(leaderboard(TARGETS["rain_tomorrow"], "2015", entrants), "t")
    drift_png(verdict_of("drift"), "t")
    for figure in drawn:
        with rc_context(STYLE):
            figure.canvas.draw()
            renderer = figure.canvas.get_renderer()
            for axes in figure.axes:
                for axis in (axes.xaxis, axes.yaxis):
                    box = axis.get_tightbbox(renderer)
                    if box is not None and box.width and box.height:
                        assert box.x0 >= 0, axis
                        assert box.y0 >= 0, axis
                        assert box.x1 <= figure.bbox.x1, axis


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("xgboost", "total gain"),
        ("hist_gradient_boosting", "total gain"),
        ("logistic_regression", "absolute standardised weights"),
        ("decision_tree", "impurity decrease"),
    ],
)
def test_the_importance_plot_says_what_it_is_a_share_of(
    name: str, measure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(plots_module, "png_of", drawn.append)
    config = TrainingConfig(seed=1, threads=1, params=ALGORITHMS[name].quick, resamples=5)
    importance_png(train(TARGETS["rain_tomorrow"], ALGORITHMS[name], small_data(), small_split(), config), "t")
    [axes] = drawn[0].axes
    assert axes.get_xlabel() == f"share of {measure}, %"


def test_the_leaderboard_is_a_png_that_grows_with_its_lines() -> None:
    def board(*names: str) -> bytes:
        entrants = [measured(name, validation_f1=0.7 - 0.01 * at) for at, name in enumerate(names)]
        return leaderboard_png(leaderboard(TARGETS["rain_tomorrow"], "2015", entrants), "Rain tomorrow, test 2015")

    few, many = board("a"), board("a", "b", "c", "d", "e")
    assert many == board("a", "b", "c", "d", "e")
    (width, low), (same, high) = (struct.unpack(">II", png[16:24]) for png in (few, many))
    assert width == same
    assert 250 < low < high < 1000


def test_the_picture_of_drift_is_a_small_png_whatever_the_month_was_like() -> None:
    for status in ("none", "drift", "unknown"):
        png = drift_png(verdict_of(status), f"Drift: {status}")
        assert png.startswith(b"\x89PNG")
        assert len(png) < 150_000
        assert png == drift_png(verdict_of(status), f"Drift: {status}")


def _dots(**changes: Any) -> StationDots:
    catalogue = sorted(STATIONS, key=lambda station: station.id)
    dots = StationDots(
        name=[station.id for station in catalogue],
        latitude_deg=np.array([station.latitude_deg for station in catalogue]),
        longitude_deg=np.array([station.longitude_deg for station in catalogue]),
        value=np.linspace(0, 1, len(catalogue)),
        ringed=np.linspace(0, 1, len(catalogue)) > 0.9,
    )
    return replace(dots, **changes)


def _map(dots: StationDots, monkeypatch: pytest.MonkeyPatch, ring_means: str | None = None) -> Any:
    drawn: list[Any] = []
    monkeypatch.setattr(plots_module, "png_of", drawn.append)
    station_map_png(dots, "t", unit="probability", colours="YlGnBu", ends=(0, 1), ring_means=ring_means)
    return drawn[0]


def test_the_map_has_the_coast_a_legend_for_its_rings_and_the_same_bytes_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    axes = _map(_dots(), monkeypatch, "yes: 0.36 or more").axes[0]
    assert len(axes.patches) == 1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["yes: 0.36 or more"]
    without = _map(_dots(), monkeypatch).axes[0]
    assert without.get_legend() is None
    monkeypatch.undo()
    pictures = {station_map_png(_dots(), "t", unit="degC", colours="YlGnBu", ends=(0, 1)) for _ in range(2)}
    assert len(pictures) == 1


def test_names_on_the_map_touch_neither_each_other_nor_the_frame_and_the_largest_values_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dots = _dots()
    figure = _map(dots, monkeypatch)
    axes, renderer = figure.axes[0], figure.canvas.get_renderer()
    with rc_context(STYLE):
        boxes = {text.get_text(): text.get_window_extent(renderer) for text in axes.texts}
    assert len(boxes) >= 20
    assert dots.name[-1] in boxes
    frame = axes.get_window_extent()
    for name, box in boxes.items():
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1
        assert not box.count_overlaps([other for also, other in boxes.items() if also != name])


@pytest.mark.parametrize("place", [(-41.0, 174.0), (64.1, -21.9), (-16.6, 179.9)])
def test_one_station_anywhere_gets_a_map_with_the_coast_around_it(
    place: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = StationDots(["Here"], np.array([place[0]]), np.array([place[1]]), np.array([0.5]), np.array([False]))
    axes = _map(one, monkeypatch).axes[0]
    assert len(axes.patches) == 1
    assert [text.get_text() for text in axes.texts] == ["Here"]


def test_plots_leave_no_global_state_behind(model: TrainedModel) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    model_plots(model, "title")
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
