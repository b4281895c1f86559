import numpy as np
import pytest
from numpy.typing import NDArray

from weather_platform.domain.skill import PRIMARY_METRICS, PROPER_SCORES
from weather_platform.domain.targets import TARGETS, labels
from weather_platform.errors import InvariantError

RAIN, MAX_TEMP = TARGETS["rain_tomorrow"], TARGETS["max_temp_tomorrow"]


def _observed(*rows: tuple[int, int, float]) -> dict[str, NDArray[np.generic]]:
    station, day, rain = zip(*rows, strict=True)
    return {
        "station_index": np.array(station, np.int32),
        "day": np.array(day, np.int32),
        "rainfall_mm": np.array(rain, np.float64),
    }


def _labels(observed: dict[str, NDArray[np.generic]], *rows: tuple[int, int]) -> list[float]:
    station, day = (np.array(part, np.int32) for part in zip(*rows, strict=True))
    found = labels(RAIN, station, day, observed)
    assert found.dtype == np.float32
    return [float(value) for value in found]


def test_more_than_one_millimetre_the_next_day_is_rain_and_exactly_one_is_not() -> None:
    observed = _observed((0, 1, 5.0), (0, 2, 1.0), (0, 3, 1.01), (0, 4, 0.0))
    assert _labels(observed, (0, 1), (0, 2), (0, 3)) == [0.0, 1.0, 0.0]


def test_a_label_is_never_taken_across_a_gap() -> None:
    observed = _observed((0, 1, 0.0), (0, 3, 9.0))
    assert np.isnan(_labels(observed, (0, 1), (0, 3))).all()
    assert _labels(_observed((0, 1, 0.0), (0, 2, 9.0)), (0, 1)) == [1.0]


def test_a_label_never_comes_from_another_station() -> None:
    observed = _observed((0, 1, 0.0), (1, 2, 9.0), (1, 1, 0.0))
    assert np.isnan(_labels(observed, (0, 1))).all()
    assert _labels(observed, (1, 1)) == [1.0]


def test_a_next_day_without_a_rain_reading_gives_no_label() -> None:
    assert np.isnan(_labels(_observed((0, 1, 0.0), (0, 2, np.nan)), (0, 1))).all()


def test_an_unknown_station_has_no_label_even_where_unknown_stations_reported() -> None:
    observed = _observed((-1, 1, 0.0), (-1, 2, 9.0), (-1, 2, 3.0), (0, 1, 0.0))
    assert np.isnan(_labels(observed, (-1, 1))).all()


def test_a_station_may_have_rows_asked_for_that_were_not_observed_that_day() -> None:
    assert _labels(_observed((3, 8, 2.0)), (3, 7), (2, 7))[0] == 1.0


def test_no_observations_at_all_give_no_labels() -> None:
    empty: dict[str, NDArray[np.generic]] = {
        "station_index": np.empty(0, np.int32),
        "day": np.empty(0, np.int32),
        "rainfall_mm": np.empty(0),
    }
    assert np.isnan(_labels(empty, (0, 1))).all()
    assert labels(RAIN, np.empty(0, np.int32), np.empty(0, np.int32), empty).shape == (0,)


def test_labels_do_not_depend_on_the_order_of_the_observations() -> None:
    rng = np.random.default_rng(0)
    observed = _observed(*((s, d, float(rng.gamma(0.3, 5))) for s in range(5) for d in range(-20, 40) if d % 7))
    rows = [(s, d) for s in range(5) for d in range(-20, 40)]
    order = rng.permutation(len(observed["day"]))
    shuffled = {name: column[order] for name, column in observed.items()}
    np.testing.assert_array_equal(_labels(observed, *rows), _labels(shuffled, *rows))


def test_a_station_day_observed_twice_is_an_error() -> None:
    with pytest.raises(InvariantError, match="observed twice"):
        _labels(_observed((0, 1, 0.0), (0, 2, 9.0), (0, 2, 0.0)), (0, 1))


def test_every_target_is_registered_under_its_name_with_a_metric_that_exists() -> None:
    for name, target in TARGETS.items():
        assert target.name == name
        assert target.primary_metric in PRIMARY_METRICS
        assert target.proper_score in PROPER_SCORES
        assert 0 < target.margin < target.floor < 1


def test_the_gates_are_those_that_were_agreed() -> None:
    assert (RAIN.floor, RAIN.margin, RAIN.proper_score) == (0.60, 0.005, "brier")
    assert (MAX_TEMP.floor, MAX_TEMP.margin, MAX_TEMP.proper_score) == (0.60, 0.005, "rmse")


def test_the_label_of_a_value_is_the_value_of_the_next_day_itself() -> None:
    observed = _observed((0, 1, 21.5), (0, 2, 33.25), (0, 4, -3.5))
    observed["max_temp_c"] = observed.pop("rainfall_mm")
    station, day = np.array([0, 0, 0], np.int32), np.array([1, 2, 3], np.int32)
    found = labels(MAX_TEMP, station, day, observed)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([33.25, np.nan, -3.5], np.float32))
