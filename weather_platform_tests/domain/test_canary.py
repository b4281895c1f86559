"""The golden sample as a file, and the canary that compares bits."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from weather_platform.domain.canary import golden_bytes, golden_from_bytes, sing
from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.training import Predictor
from weather_platform.errors import RegistryError
from weather_platform_tests.small_models import FEATURE_NAMES, small_model


def test_the_file_gives_back_every_bit_of_the_sample_and_the_same_bytes_each_time() -> None:
    golden = small_model().golden
    assert np.isnan(golden.values).any(), "a missing value must survive as well"
    data = golden_bytes(golden, FEATURE_NAMES)
    again = golden_from_bytes(data, FEATURE_NAMES)
    assert again.values.dtype == np.float32
    assert np.array_equal(again.values, golden.values, equal_nan=True)
    assert again.expected.tobytes() == golden.expected.tobytes()
    assert golden_bytes(golden, FEATURE_NAMES) == data


def test_a_model_gives_the_predictions_that_were_recorded_of_it() -> None:
    model = small_model()
    result = sing(model.predictor, model.golden)
    assert (result.rows, result.differing, result.largest_difference) == (len(model.golden.expected), 0, 0.0)


def test_one_bit_in_one_prediction_is_enough() -> None:
    model = small_model()
    expected = model.golden.expected.copy()
    expected[3] = np.nextafter(expected[3], 1)
    result = sing(model.predictor, replace(model.golden, expected=expected))
    assert result.differing == 1
    assert 0 < result.largest_difference < 1e-15


def test_another_model_does_not_give_them() -> None:
    result = sing(small_model(seed=2).predictor, small_model(seed=1).golden)
    assert result.differing > 0
    assert result.largest_difference > 1e-6


class OtherwiseAlone(Predictor):
    """A model that says something else of a single row."""

    def predict(self, values: NDArray[np.float32]) -> Forecasts:
        forecasts = super().predict(values)
        return forecasts if len(values) > 1 else replace(forecasts, value=np.nextafter(forecasts.value, 1))


def test_single_rows_count_as_much_as_all_at_once() -> None:
    model = small_model()
    loaded = model.predictor
    result = sing(OtherwiseAlone(loaded.contract, loaded.model, loaded.digest), model.golden)
    assert result.differing == result.rows == len(model.golden.expected)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("garbage", "is no Arrow file"),
        ("columns", "is no sample of this model"),
        ("empty", "has 0 rows of 4 columns and is no sample"),
    ],
)
def test_a_file_that_is_no_sample_of_the_model_is_refused(kind: str, said: str) -> None:
    golden = small_model().golden
    nothing = replace(golden, values=golden.values[:0], expected=golden.expected[:0])
    data = {
        "garbage": b"PAR1 this is something else",
        "columns": golden_bytes(golden, ("a", "b", "c")),
        "empty": golden_bytes(nothing, FEATURE_NAMES),
    }[kind]
    with pytest.raises(RegistryError, match=said):
        golden_from_bytes(data, FEATURE_NAMES)
