"""A station of the user's own beside some of the catalogue: from `stations.csv` to a forecast and to the endpoint."""

import csv
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.serving.follower import Follower
from weather_platform.serving.state import StateFolder
from weather_platform.sources.synthetic import SyntheticSource
from weather_platform_tests.e2e.homes import Done, MadeHome, empty_home
from weather_platform_tests.sources.bureau_files import bureau_file

LAST_DAY = date(2015, 6, 30)
OWN, TARGET = "MyFarm", "rain_tomorrow"


def observations(folder: Path) -> None:
    """Weather of 12 stations as a weatherAUS table, the last of them under the name of the user's own."""
    source = SyntheticSource(
        seed=42, station_count=12, first_day=date(2012, 1, 1), last_day=LAST_DAY, first_month="2007-11", shift=None,
        fetched_at=datetime(2015, 7, 1, 8, tzinfo=ZoneInfo("Australia/Sydney")),
    )  # fmt: skip
    own = source.stations()[-1]
    named = {c.name: c.weather_aus for c in OBSERVATION_COLUMNS}
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Date", "Location", *named.values()])
        for month in (f"{year}-{month:02}" for year in range(2012, 2016) for month in range(1, 13)):
            if month <= f"{LAST_DAY:%Y-%m}":
                for row in source.rows(month).to_pylist():
                    place = "my farm" if row["station"] == own.id else row["station"]
                    writer.writerow([row["date"], place, *(row[name] for name in named)])
    bathurst = "Observations were drawn from Bathurst Agricultural Station {station 063005}"
    (folder / "IDCJDW2012.201408.csv").write_bytes(
        bureau_file("Bathurst, New South Wales", "IDCJDW2012", bathurst).encode("cp1252")
    )
    (folder / "stations.csv").write_text(
        "id,name,state,latitude,longitude,elevation_m,timezone\n"
        f"{OWN},My Farm,New South Wales,{own.latitude_deg},{own.longitude_deg},{own.elevation_m},{own.timezone}\n"
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeHome, Done]:
    folder = tmp_path_factory.mktemp("own")
    observations(folder)
    home = empty_home(tmp_path_factory.mktemp("home") / "home")
    return home, home.run("run", "--source", "csv", "--path", str(folder), "--target", TARGET)


def test_an_own_station_is_forecast_beside_those_of_the_catalogue(ran: tuple[MadeHome, Done]) -> None:
    home, done = ran
    assert done.code == 0, done.err
    forecasts = home.database.forecasts(TARGET, LAST_DAY, LAST_DAY)["station"].to_pylist()
    assert OWN in forecasts
    assert len(forecasts) > 6
    assert f"{OWN} " in home.call("forecast", "--station", "my farm", "--target", TARGET).out


def test_the_last_lines_of_the_run_name_the_unknown_stations(ran: tuple[MadeHome, Done]) -> None:
    home, done = ran
    (line,) = [line for line in done.out.splitlines() if "unknown station" in line]
    assert "Bathurst, New South Wales, IDCJDW2012 (3)" in line
    assert line in done.out.splitlines()[-3:]
    assert "Bathurst" in home.call("stations", "--unknown").out


def test_the_catalogue_lists_the_own_station_with_its_days(ran: tuple[MadeHome, Done]) -> None:
    home, _ = ran
    (line,) = [line for line in home.call("stations").out.splitlines() if line.startswith(OWN)]
    assert line.split()[1] == "NSW"
    assert int(line.split()[2].replace(",", "")) > 1000
    assert line.rstrip().endswith("My Farm")


def test_the_endpoint_knows_the_own_station(ran: tuple[MadeHome, Done], tmp_path: Path) -> None:
    home, _ = ran
    folder = StateFolder(tmp_path / "state")
    state = Follower(home.settings, home.registry, home.lake, folder).poll()
    assert state.recent is not None
    stored = folder.table(state.recent.stations)
    assert OWN in stored["id"].to_pylist()


def test_an_update_makes_a_station_known_and_does_nothing_the_second_time(ran: tuple[MadeHome, Done]) -> None:
    home, _ = ran
    assert "cleaned" not in home.run("update").out, "only the skill of the forecasts was not measured yet"
    assert home.run("update").out.startswith("nothing new")
    with (home.settings.csv_path / "stations.csv").open("a") as file:  # type: ignore[operator]
        file.write("Bathurst,,NSW,-33.43,149.56,713,Australia/Sydney\n")
    done = home.run("update")
    assert done.code == 0, done.err
    assert "new or changed stations: Bathurst; all months are made again" in done.out
    assert "unknown station" not in done.out
    (line,) = [line for line in home.call("stations").out.splitlines() if line.startswith("Bathurst")]
    assert line.split()[2:5] == ["3", "2014-08-01", "2014-08-03"]
    assert home.run("update").out.startswith("nothing new")
