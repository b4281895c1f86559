import struct
import sys

import pytest

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainedModel, TrainingConfig, train
from weather_platform.plots import model_plots
from weather_platform_tests.domain.learning import small_data, small_split


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    config = TrainingConfig(seed=1, threads=1, params={"n_estimators": 10, "max_depth": 2}, resamples=5)
    return train(TARGETS["rain_tomorrow"], ALGORITHMS["xgboost"], small_data(), small_split(), config)


def test_every_plot_is_a_png_of_readable_size_and_the_same_bytes_each_time(model: TrainedModel) -> None:
    plots = model_plots(model, "rain_tomorrow, xgboost, 2012")
    assert set(plots) == {"reliability", "precision_recall", "importance"}
    for png in plots.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", png[16:24])
        assert 600 <= width <= 2000
        assert 250 <= height <= 2000
    assert plots == model_plots(model, "rain_tomorrow, xgboost, 2012")
    assert plots != model_plots(model, "another title")


def test_plots_leave_no_global_state_behind(model: TrainedModel) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    model_plots(model, "title")
    assert dict(mpl.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
