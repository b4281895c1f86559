"""`weather stations`: the catalogue with its days and what is not in it, from the lake alone."""

from pathlib import Path

import pytest

from weather_platform.domain.stations import STATIONS
from weather_platform_tests.cli.test_reading import imported
from weather_platform_tests.e2e.homes import MadeHome, empty_home


@pytest.mark.parametrize("more", [[], ["--unknown"]])
def test_neither_mlflow_nor_dagster_is_imported(first: MadeHome, more: list[str]) -> None:
    assert imported(first, "stations", *more) == "0 []"


def test_each_station_of_the_lake_has_a_line_with_its_days(first: MadeHome) -> None:
    rows = first.lake.read("observations", columns=["station", "day"])
    days = [row["day"] for row in rows.to_pylist() if row["station"] == "AliceSprings"]
    out = first.call("stations").out.splitlines()
    assert len(out) == 1 + len(first.lake.read("stations"))
    (line,) = [line for line in out if line.startswith("AliceSprings ")]
    assert line.split() == ["AliceSprings", "NT", f"{len(days):,}", str(min(days)), str(max(days)), "Alice", "Springs"]


def test_unknown_stations_are_listed_with_their_rows(first: MadeHome) -> None:
    quarantined = first.lake.read("quarantined_observations", columns=["rule", "station"]).to_pylist()
    unknown = [row["station"] for row in quarantined if row["rule"] == "unknown_station"]
    out = first.call("stations", "--unknown").out
    if unknown:
        (line,) = [line for line in out.splitlines() if line.startswith(unknown[0])]
        assert str(unknown.count(unknown[0])) in line.split()
    else:
        assert out == "no unknown station was met\n"


def test_without_a_home_the_shipped_catalogue_is_listed_and_none_is_made(tmp_path: Path) -> None:
    home = empty_home(tmp_path / "home")
    done = home.call("stations")
    assert done.code == 0
    assert len(done.out.splitlines()) == 1 + len(STATIONS)
    assert done.err.startswith("this is the shipped catalogue: ")
    assert "is not a home yet" in done.err
    assert home.call("stations", "--unknown").out == "no unknown station was met\n"
    assert not home.folder.exists()
