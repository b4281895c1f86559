"""`weather predict`: what is refused before anybody is asked."""

from pathlib import Path

import pytest

from weather_platform.cli.predict import observation_of
from weather_platform_tests.e2e.homes import empty_home

SIGNED_IN = {"WEATHER_USER": "ada", "WEATHER_PASSWORD": "blue whales eat krill"}


@pytest.mark.parametrize("text", ["inf", "-inf", "Infinity", "1e999", "nan", "NaN", "wet"])
def test_an_observation_that_is_no_finite_number_is_refused_with_how_to_say_that_there_is_none(
    tmp_path: Path, text: str
) -> None:
    done = empty_home(tmp_path / "home").call("predict", "Sydney", "--observed", f"rainfall_mm={text}", **SIGNED_IN)
    assert (done.code, done.err) == (
        1,
        f"weather: rainfall_mm takes a number, not '{text}'; leave it empty (rainfall_mm=) if it was not observed\n",
    )


def test_numbers_flags_and_what_was_not_observed_are_taken() -> None:
    given = ["rainfall_mm=1e3", "temp_3pm_c= -2.5 ", "humidity_9am_pct=", "rain_today=true"]
    assert observation_of(given) == {
        "rainfall_mm": 1000.0, "temp_3pm_c": -2.5, "humidity_9am_pct": None, "rain_today": True,
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [["predict", "Sydney"], ["loadtest"]])
def test_an_address_that_is_none_is_one_line(tmp_path: Path, arguments: list[str]) -> None:
    home = empty_home(tmp_path / "home")
    for done in (
        home.call(*arguments, "--url", "http://[::1", **SIGNED_IN),
        home.call(*arguments, WEATHER_ENDPOINT_URL="http://[::1", **SIGNED_IN),
    ):
        assert done.code == 1
        assert done.err.startswith("weather: 'http://[::1' is no address of a service (")
        assert done.err.count("\n") == 1
