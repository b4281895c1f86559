"""What a monthly file of the Bureau says about its station, as it was published and as a spreadsheet saved it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weather_platform.domain.recognition import STATION_COLUMNS
from weather_platform.errors import SourceError
from weather_platform.sources.csv_files import CsvSource
from weather_platform_tests.sources.bureau_files import HEADER, ROW, bureau_file
from weather_platform_tests.sources.test_csv_files import FETCHED_AT

Opened = Callable[..., CsvSource]


@pytest.fixture
def said(tmp_path: Path) -> Callable[[str, str], dict[str, Any]]:
    """The station columns of the first row of a file."""

    def read(name: str, text: str) -> dict[str, Any]:
        folder = tmp_path / "observations"
        folder.mkdir()
        (folder / name).write_bytes(text.encode("cp1252"))
        source = CsvSource(folder, first_month="2007-11", fetched_at=FETCHED_AT)
        try:
            rows = source.rows("2014-08").to_pylist()
        finally:
            source.close()
        return {column: rows[0][column] for column in STATION_COLUMNS}

    return read


def test_title_product_and_stations_are_kept_as_received_the_main_station_first(
    said: Callable[[str, str], dict[str, Any]],
) -> None:
    text = bureau_file(
        "Sydney, New South Wales",
        "IDCJDW2124",
        "Wind observations are from Fort Denison {station 066022}",
        "Sydney Airport {station 94767} was renamed. It is drawn from memory {station number 066062}",
        "Temperature, humidity and rainfall observations are from Sydney (Observatory Hill) {station 066214}",
        "Pressure, cloud, evaporation and sunshine observations are from Sydney Airport AMO {station 066037}",
    )
    assert said("august.csv", text) == {
        "station": "Sydney",
        "station_state": "New South Wales",
        "bureau_product": "IDCJDW2124",
        "bureau_stations": "066214 066022 066037",
    }


def test_quotes_inside_a_remark_hide_nothing(said: Callable[[str, str], dict[str, Any]]) -> None:
    text = bureau_file(
        "Adelaide (West Terrace / Ngayirdapira), South Australia",
        "IDCJDW5081",
        'This is the "official" site. Observations are available from Kent Town {station number 023090} up until 2020.',
        "Observations were drawn from Adelaide (West Terrace / Ngayirdapira) {station 023000}",
    )
    assert said("a.csv", text) == {
        "station": "Adelaide (West Terrace / Ngayirdapira)",
        "station_state": "South Australia",
        "bureau_product": "IDCJDW5081",
        "bureau_stations": "023000",
    }


def test_a_title_may_lack_the_state(said: Callable[[str, str], dict[str, Any]]) -> None:
    text = bureau_file(
        "Albury-Wodonga", "IDCJDW2002", "Observations were drawn from Albury Airport AWS {station 72160}"
    )
    assert said("a.csv", text) == {
        "station": "Albury-Wodonga",
        "station_state": None,
        "bureau_product": "IDCJDW2002",
        "bureau_stations": "072160",
    }


def test_the_preamble_comes_before_the_name_of_the_file(said: Callable[[str, str], dict[str, Any]]) -> None:
    assert said("IDCJDW2801.201408.csv", bureau_file("Sydney", "IDCJDW2124"))["bureau_product"] == "IDCJDW2124"


NOTHING_ELSE = {"station": None, "station_state": None, "bureau_product": "IDCJDW6111", "bureau_stations": None}


@pytest.mark.parametrize("lead", ["", ","])
@pytest.mark.parametrize("name", ["IDCJDW6111.201408.csv", "perth idcjdw6111_resaved (2).csv"])
def test_a_file_without_preamble_or_header_has_the_product_of_its_name(
    said: Callable[[str, str], dict[str, Any]], name: str, lead: str
) -> None:
    assert said(name, f"{lead}1/08/2014,{ROW}\n{lead}2/08/2014,{ROW}\n") == NOTHING_ELSE


def test_a_header_without_preamble_has_the_product_of_its_name(said: Callable[[str, str], dict[str, Any]]) -> None:
    assert said("IDCJDW6111.201408.csv", f"{HEADER.lstrip(',')}\n1/08/2014,{ROW}\n") == NOTHING_ELSE


def test_a_spreadsheet_fills_the_preamble_up_with_commas(said: Callable[[str, str], dict[str, Any]]) -> None:
    text = bureau_file("Perth, Western Australia", "IDCJDW6111", "Observations were drawn from Perth {station 009225}")
    lines = [line if line.startswith(",") else line + "," * 21 for line in text.split("\r\n")]
    assert said("a.csv", "\n".join(lines)) == {
        "station": "Perth",
        "station_state": "Western Australia",
        "bureau_product": "IDCJDW6111",
        "bureau_stations": "009225",
    }


def test_cells_of_a_file_without_a_header_are_in_the_order_of_the_bureau(tmp_path: Path) -> None:
    (tmp_path / "IDCJDW6111.csv").write_text(
        "1/08/2014,10.8,21.9,0,4,10.5,SW,28,13:09,18.6,57,1,E,6,1022.5,20.8,43,2,SSW,15,1019.6\n"
    )
    source = CsvSource(tmp_path, first_month="2007-11", fetched_at=FETCHED_AT)
    [row] = source.rows("2014-08").to_pylist()
    source.close()
    assert row["row_number"] == 1
    units = ("_c", "_hpa", "_oktas", "_kmh")
    assert {name: text for name, text in row.items() if text is not None and name.endswith(units)} == {
        "min_temp_c": "10.8", "max_temp_c": "21.9", "temp_9am_c": "18.6", "temp_3pm_c": "20.8",
        "pressure_9am_hpa": "1022.5", "pressure_3pm_hpa": "1019.6", "cloud_9am_oktas": "1", "cloud_3pm_oktas": "2",
        "wind_gust_speed_kmh": "28", "wind_speed_9am_kmh": "6", "wind_speed_3pm_kmh": "15",
    }  # fmt: skip
    assert (row["wind_gust_direction_deg"], row["wind_direction_9am_deg"], row["wind_direction_3pm_deg"]) == (
        "SW", "E", "SSW",
    )  # fmt: skip
    assert (row["humidity_9am_pct"], row["humidity_3pm_pct"], row["wind_gust_time"]) == ("57", "43", "13:09")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("perth.csv", f"1/08/2014,{ROW}\n", r"line 1: no line 'Daily Weather .* no product number in its name"),
        ("IDCJDW6111.csv", f"1/08/2014,{ROW},9\n,\n", "line 1, column 1: unknown layout"),
        ("IDCJDW6111.csv", f"1/08/2014,{ROW.replace('SW,', '31,', 1)}\n", "line 1, column 1: unknown layout"),
        ("IDCJDW6111.csv", f"August,{ROW}\n", "line 1, column 1: unknown layout"),
    ],
)
def test_rows_without_a_header_that_are_not_surely_the_bureaus_are_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    source = CsvSource(tmp_path, first_month="2007-11", fetched_at=FETCHED_AT)
    with pytest.raises(SourceError, match=message):
        source.coverage()
    source.close()
