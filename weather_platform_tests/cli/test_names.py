"""Names as people type them: what is found, and what is asked about."""

import pytest

from weather_platform.cli.names import near, stations_named, target_named, unknown_stations
from weather_platform.domain.stations import STATIONS
from weather_platform.errors import SourceError
from weather_platform_tests.e2e.homes import MadeHome, empty_home
from weather_platform_tests.small_models import TARGET

IDS = [station.id for station in STATIONS]


@pytest.mark.parametrize("typed", [TARGET, "Rain Tomorrow", "RAIN-TOMORROW", "rain tomorrow", "raintomorrow"])
def test_a_target_is_found_however_it_is_written(typed: str) -> None:
    assert target_named(typed) == TARGET


@pytest.mark.parametrize("typed", ["rain", "snow_tomorrow", "", "_"])
def test_another_word_is_no_target(typed: str) -> None:
    assert target_named(typed) is None


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("MountGambir", ["MountGambier"]),
        ("mt gambier", ["MountGambier"]),
        ("melborne", ["Melbourne"]),
        ("coffs", ["CoffsHarbour"]),
        ("Alice", ["AliceSprings"]),
        ("Wagga", ["WaggaWagga"]),
        ("Atlantis", []),
        ("", []),
    ],
)
def test_a_near_miss_names_what_was_meant(typed: str, meant: list[str]) -> None:
    assert near(typed, IDS) == meant


def test_stations_are_found_once_each_in_the_order_asked_for() -> None:
    assert stations_named(["mount  gambier", "COBAR", "Mount-Gambier"], STATIONS) == ["MountGambier", "Cobar"]


def test_an_unknown_station_is_asked_about_or_the_catalogue_is_listed_in_part() -> None:
    with pytest.raises(SourceError, match=r"^no station Melborne; did you mean Melbourne\?$"):
        stations_named(["Cobar", "Melborne"], STATIONS)
    with pytest.raises(SourceError, match=r"^no station Atlantis; the catalogue has Adelaide, .*, Woomera$"):
        stations_named(["Atlantis"], STATIONS)
    with pytest.raises(SourceError, match=r"the catalogue has p00000, .*, p00059 and 9,940 more$"):
        raise unknown_stations(["Atlantis"], [], [f"p{number:05}" for number in range(10_000)])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forcast"], "No such command 'forcast'. Did you mean 'forecast'?"),
        (["forecast", "--statoin", "Perth"], "--station"),
        (["forecast", "--target", "rain_tomorow"], "no target rain_tomorow; there is rain_tomorrow, max_temp_tomorrow; "
         "did you mean rain_tomorrow?"),
        (["lineage", "max temp", "Perth", "2015-06-30"], "did you mean max_temp_tomorrow?"),
    ],
)  # fmt: skip
def test_a_mistyped_word_is_a_wrong_use_that_names_the_right_one(
    tmp_path_factory: pytest.TempPathFactory, arguments: list[str], said: str
) -> None:
    home: MadeHome = empty_home(tmp_path_factory.mktemp("names") / "home")
    done = home.call(*arguments)
    assert done.code == 2
    assert said in " ".join(done.err.replace("│", " ").split())
