"""`stations.csv` beside the observations: every fault is named with its line, and nothing of a faulty file is used."""

import os
from pathlib import Path

import pytest

from weather_platform.domain.stations import STATIONS, Station
from weather_platform.errors import SourceError
from weather_platform.sources import own_stations as module
from weather_platform.sources.csv_files import CsvSource
from weather_platform.sources.own_stations import own_stations
from weather_platform_tests.sources.test_csv_files import FETCHED_AT, row, table

HEADER = "id,name,state,latitude,longitude,elevation_m,timezone"
DE_BILT = "DeBilt,De Bilt,Netherlands,52.1,5.18,2,Europe/Amsterdam"


def read(folder: Path, *lines: str, header: str = HEADER, encoding: str = "utf-8") -> tuple[Station, ...]:
    (folder / "stations.csv").write_bytes("\n".join([header, *lines, ""]).encode(encoding))
    return own_stations(folder)


def test_stations_come_in_the_order_of_the_file_with_their_state_as_the_catalogue_writes_it(tmp_path: Path) -> None:
    assert read(tmp_path, DE_BILT, "", "my-farm,,New South Wales,-30.5,150,+20.0,Australia/Sydney") == (
        Station("DeBilt", "Netherlands", 52.1, 5.18, 2, "Europe/Amsterdam", "De Bilt"),
        Station("my-farm", "NSW", -30.5, 150, 20, "Australia/Sydney"),
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_columns_may_be_in_any_order_and_case_with_others_between_and_in_any_usual_encoding(
    tmp_path: Path, encoding: str
) -> None:
    header = "Timezone,note,ID,country,Name,Longitude,latitude,ELEVATION_M"
    line = 'Europe/Zurich,"a, b",Zürich,Switzerland,Fluntern,8.57,47.38,556'
    found = read(tmp_path, line, header=header, encoding=encoding)
    assert found == (Station("Zürich", "Switzerland", 47.38, 8.57, 556, "Europe/Zurich", "Fluntern"),)


def test_without_the_file_there_are_no_own_stations(tmp_path: Path) -> None:
    assert own_stations(tmp_path) == ()
    assert own_stations(tmp_path / "absent") == ()


def test_all_missing_columns_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="line 1: the columns name, elevation_m, timezone, state or country are miss"):
        read(tmp_path, header="id,latitude,longitude")


def test_all_faults_are_named_with_their_lines(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(
            tmp_path,
            "A1,,NSW,-91,150,20,Australia/Sydney",
            DE_BILT,
            "A2,,NSW,-30,180.1,20,Australia/Atlantis",
            "A3,,,nan,1e2,9000,UTC",
            "A4,,NSW,-30,150,20",
        )
    text = str(caught.value)
    for fault in (
        "line 2: latitude -91 is not between -90 and 90",
        "line 4: longitude 180.1 is not between -180 and 180",
        "line 4: time zone 'Australia/Atlantis' is unknown",
        "line 5: state or country is empty",
        "line 5: latitude 'nan' is not a number",
        "line 5: longitude '1e2' is not a number",
        "line 5: elevation_m 9000 is not between -450 and 6000",
        "line 6: 6 fields instead of 7",
    ):
        assert fault in text
    assert "line 3" not in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("debilt,,Belgium,50,4,2,UTC", "line 3: id 'debilt' is that of line 2"),
        ("Other,DE BILT,netherlands,50,4,2,UTC", "line 3: 'DE BILT' of netherlands is also what line 2 is called"),
        ("perth,,Scotland,56,-3,2,UTC", "line 3: 'perth' would be taken for Perth of the shipped catalogue"),
        ("Rock,Yulara,NT,-25,131,500,UTC", "line 3: 'Rock' would be taken for Uluru of the shipped catalogue"),
        ("Rock,Yulara,Northern Territory,-25,131,500,UTC", "would be taken for Uluru"),
        ("a/b,,NSW,-30,150,20,UTC", "line 3: id 'a/b' is not 1 to 64 letters and digits"),
        ("..,,NSW,-30,150,20,UTC", "line 3: id '..' is not 1 to 64"),
        ("[red]x,,NSW,-30,150,20,UTC", "is not 1 to 64"),
        (f"{'x' * 65},,NSW,-30,150,20,UTC", "is not 1 to 64"),
        (",,NSW,-30,150,20,UTC", "line 3: id '' is not 1 to 64"),
        (f"x,{'n' * 101},NSW,-30,150,20,UTC", "line 3: name 'nnn.* is longer than 100 characters"),
        ("x,a\x1b[2Jb,NSW,-30,150,20,UTC", "line 3: name .* not printable"),
        ('x,,NSW,"-30,5",150,20,UTC', "line 3: latitude '-30,5' is not a number with a decimal point"),
        ("x,,NSW,-30,150,20,/etc/passwd", "line 3: time zone '/etc/passwd' is unknown"),
        ('x,"never closed', "line 3: .*repair the quotes"),
    ],
)
def test_a_fault_is_named_with_its_line_and_the_file_is_not_used(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        read(tmp_path, DE_BILT, line)
    assert str(tmp_path / "stations.csv") in str(caught.value)


def test_a_place_of_the_same_name_in_another_state_is_another_station(tmp_path: Path) -> None:
    line = "RichmondQLD,Richmond,Queensland,-20.7,143.11,206,Australia/Brisbane"
    assert [(each.id, each.state, each.name) for each in read(tmp_path, line)] == [("RichmondQLD", "QLD", "Richmond")]


def test_semicolons_binary_and_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="separated by semicolons"):
        read(tmp_path, header=HEADER.replace(",", ";"))
    with pytest.raises(SourceError, match="a NUL byte"):
        read(tmp_path, "\0")
    with pytest.raises(SourceError, match="the columns id are there twice"):
        read(tmp_path, header=f"{HEADER},id")
    monkeypatch.setattr(module, "MOST_STATIONS", 1)
    assert len(read(tmp_path, DE_BILT)) == 1
    with pytest.raises(SourceError, match="line 3: more than 1 stations"):
        read(tmp_path, DE_BILT, "x,,NSW,-30,150,20,UTC")
    monkeypatch.setattr(module, "MOST_BYTES", 60)
    with pytest.raises(SourceError, match="more than 0 MB"):
        read(tmp_path, DE_BILT)


def test_pipes_folders_and_links_out_of_the_folder_are_refused_and_links_within_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "observations"
    folder.mkdir()
    file = folder / "stations.csv"
    os.mkfifo(file)
    with pytest.raises(SourceError, match="it is a named pipe"):
        own_stations(folder)
    file.unlink()
    file.mkdir()
    with pytest.raises(SourceError, match="it is a directory"):
        own_stations(folder)
    file.rmdir()
    (tmp_path / "elsewhere").write_text(f"{HEADER}\n{DE_BILT}\n")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceError, match="is a link out of the folder"):
        own_stations(folder)
    file.unlink()
    (folder / "mine.txt").write_text(f"{HEADER}\n{DE_BILT}\n")
    file.symlink_to("mine.txt")
    assert len(own_stations(folder)) == 1


def test_the_source_has_them_after_the_shipped_ones_and_reads_no_rows_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(row("2009-11-01", station="De Bilt")))
    (tmp_path / "stations.csv").write_text(f"{HEADER}\n{DE_BILT}\n")
    for path in (tmp_path, tmp_path / "a.csv"):
        with CsvSource(path, first_month="2007-11", fetched_at=FETCHED_AT) as source:
            assert source.rows("2009-11")["file"].to_pylist() == ["a.csv"]
            assert source.stations()[:-1] == STATIONS
            assert source.stations()[-1].id == "DeBilt"


def test_beside_a_single_file_another_kind_of_stations_file_is_not_meant(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(row("2009-11-01")))
    (tmp_path / "stations.csv").write_text("station,state,latitude\nAlbury,NSW,-36\n")
    assert own_stations(tmp_path / "a.csv") == ()
    with pytest.raises(SourceError, match="the columns id, name, longitude, elevation_m, timezone are missing"):
        own_stations(tmp_path)


def test_a_fault_in_the_file_is_named_before_any_observation_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("no observations")
    (tmp_path / "stations.csv").write_text(f"{HEADER}\nx,,NSW,99,150,20,UTC\n")
    source = CsvSource(tmp_path, first_month="2007-11", fetched_at=FETCHED_AT)
    with source, pytest.raises(SourceError, match="line 2: latitude 99"):
        source.coverage()
