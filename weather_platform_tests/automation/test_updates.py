"""What an update finds new: another catalogue makes every month new, the same one none."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from weather_platform.automation.updates import changed_stations, new_in
from weather_platform.domain.stations import STATIONS, station_table
from weather_platform.lake import Lake
from weather_platform.sources.changes import months_of
from weather_platform.sources.csv_files import CsvSource
from weather_platform_tests.sources.test_csv_files import row, table

OWN = "id,name,state,latitude,longitude,elevation_m,timezone\nDeBilt,De Bilt,Netherlands,52.1,5.2,{},Europe/Amsterdam\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "observations"
    folder.mkdir()
    (folder / "a.csv").write_text(table(row("2015-05-31"), row("2015-06-01", station="De Bilt")))
    return folder


@pytest.fixture
def lake(tmp_path: Path, folder: Path) -> Lake:
    """A lake that holds the folder as it was without any station of the user's own."""
    lake = Lake(str(tmp_path / "lake"))
    lake.replace_table("stations", station_table(STATIONS))
    with opened(folder) as source:
        for month in months_of(source.coverage()):
            lake.replace_partition("raw_observations", "month", month, source.rows(month))
    return lake


def opened(folder: Path) -> CsvSource:
    return CsvSource(folder, first_month="2015-01", fetched_at=datetime(2015, 7, 1, tzinfo=UTC))


def test_another_catalogue_makes_every_month_new(folder: Path, lake: Lake) -> None:
    (folder / "stations.csv").write_text(OWN.format(2))
    with opened(folder) as source:
        assert changed_stations(source, lake) == ["DeBilt"]
        assert [(change.month, len(change.days), change.stored) for change in new_in(source, lake)] == [
            ("2015-05", 1, True),
            ("2015-06", 1, True),
        ]
        lake.replace_table("stations", station_table(source.stations()))
        assert (changed_stations(source, lake), new_in(source, lake)) == ([], [])
    (folder / "stations.csv").write_text(OWN.format(3))
    with opened(folder) as source:
        assert changed_stations(source, lake) == ["DeBilt"]


def test_the_same_catalogue_makes_none_new_also_when_an_earlier_version_stored_it(folder: Path, lake: Lake) -> None:
    with opened(folder) as source:
        assert (changed_stations(source, lake), new_in(source, lake)) == ([], [])
        lake.replace_table("stations", station_table(STATIONS).drop_columns(["name"]))
        assert changed_stations(source, lake) == []


def test_the_stamp_of_a_folder_changes_with_its_stations(folder: Path) -> None:
    stamps = []
    for text in ("", OWN.format(2), OWN.format(30)):
        if text:
            (folder / "stations.csv").write_text(text)
        with opened(folder) as source:
            stamps.append(source.stamp())
    assert len(set(stamps)) == 3
