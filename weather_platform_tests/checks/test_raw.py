"""Checks of stage raw, firing and not firing, as functions and inside real runs."""

from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pytest

from weather_platform.checks import raw
from weather_platform.checks.raw import impossible_stations, repeated_origins
from weather_platform.domain.stations import STATIONS, Station, station_table
from weather_platform.partitions import month_partitions
from weather_platform.sources.synthetic import SyntheticSource
from weather_platform_tests.stages import Home, evaluations, failing, made

SOUND = Station("Albury", "NSW", -36.07, 146.95, 164, "Australia/Sydney")
MONTHS = ["2015-01", "2015-02"]


def test_the_catalogue_of_the_platform_holds_places_that_are_real() -> None:
    assert impossible_stations(station_table(STATIONS)) == {}


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Station("Odd", "NSW", -91, 146, 10, "Australia/Sydney"), "latitude -91.0, longitude 146.0"),
        (Station("Odd", "NSW", -36, 181, 10, "Australia/Sydney"), "latitude -36.0, longitude 181.0"),
        (Station("Odd", "NSW", -36, 146, 9000, "Australia/Sydney"), "elevation 9000.0 m"),
        (Station("Odd", "NSW", -36, 146, -500, "Australia/Sydney"), "elevation -500.0 m"),
        (Station("Odd", "NSW", -36, 146, 10, "Australia/Atlantis"), "time zone Australia/Atlantis"),
    ],
)
def test_a_place_that_cannot_be_is_named_with_what_is_wrong(place: Station, said: str) -> None:
    assert impossible_stations(station_table([SOUND, place])) == {"Odd": said}


def test_a_position_that_is_not_a_number_is_named() -> None:
    nowhere = Station("Odd", "NSW", float("nan"), 146, 10, "Australia/Sydney")
    assert list(impossible_stations(station_table([SOUND, nowhere]))) == ["Odd"]


def test_a_station_that_stands_twice_in_the_catalogue_is_named() -> None:
    assert impossible_stations(station_table([SOUND, SOUND])) == {"Albury": "stands twice in the catalogue"}


def _row(number: int, **cells: Any) -> dict[str, Any]:
    return {"source": "csv", "file": "a.csv", "row_number": number, "day": date(2015, 1, 1)} | cells


@pytest.mark.parametrize("months_at_once", [1, 24])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([_row(2), _row(3)], None),
        ([_row(2), _row(2, file="b.csv")], None),  # the same line of another file
        ([], None),
        ([_row(2), _row(2), _row(2), _row(3)], "2 rows have the file and row number of another"),
        ([_row(2), _row(3, source="synthetic")], "rows of csv and synthetic"),
    ],
)
def test_a_month_with_rows_of_one_origin_twice_or_of_two_sources_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], said: str | None, months_at_once: int
) -> None:
    monkeypatch.setattr(raw, "_MONTHS_AT_ONCE", months_at_once)  # February with January, and in a scan after it
    home = Home(tmp_path)
    home.receive("2015-01", [_row(2)])
    home.receive("2015-02", rows)
    assert repeated_origins(home.lake, MONTHS) == ({} if said is None else {"2015-02": said})
    assert repeated_origins(home.lake, MONTHS[:1]) == {}, "only the months of the run are looked at"


class DoubledSource(SyntheticSource):
    """A source that gives out February twice, and a catalogue with a station off the Earth."""

    off_the_earth = False

    def rows(self, month: str) -> pa.Table:
        rows = super().rows(month)
        return pa.concat_tables([rows, rows]) if month == "2015-02" else rows

    def stations(self) -> tuple[Station, ...]:
        strangers = (Station("Odd", "NSW", -91, 0, 0, "Australia/Sydney"),) if self.off_the_earth else ()
        return super().stations() + strangers


def _doubled(*, off_the_earth: bool) -> DoubledSource:
    source = DoubledSource(
        seed=1, station_count=3, first_day=date(2015, 1, 1), last_day=date(2015, 3, 31), shift=None,
        first_month="2007-11", fetched_at=datetime(2015, 4, 1, tzinfo=ZoneInfo("Australia/Sydney")),
    )  # fmt: skip
    source.off_the_earth = off_the_earth
    return source


def _after(home: Home, upstream: str) -> dg.AssetsDefinition:
    partitions = month_partitions(home.settings) if upstream == "raw_observations" else None

    @dg.asset(deps=[upstream], partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def after() -> None:
        return

    return after


def test_a_sound_month_passes_and_what_comes_after_it_is_made(tmp_path: Path) -> None:
    home = Home(tmp_path)
    group = dg.AssetSelection.groups("raw") | dg.AssetSelection.assets("after")
    result = home.run(group, *MONTHS, more=[_after(home, "raw_observations")])
    assert result.success
    assert made(result) == {"stations", "raw_observations", "after"}
    told = evaluations(result)
    assert told["places_are_real"].passed
    assert told["one_origin_per_row"].passed
    assert told["one_origin_per_row"].metadata["partitions"].value == 2


def test_a_doubled_month_stops_what_comes_after_it_and_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    group = dg.AssetSelection.assets("raw_observations", "after")
    result = home.run(
        group, *MONTHS,
        more=[_after(home, "raw_observations")], resources={"source": _doubled(off_the_earth=False)},
    )  # fmt: skip
    assert not result.success
    assert made(result) == {"raw_observations"}
    [told] = evaluations(result).values()
    assert (told.check_name, told.passed, told.blocking) == ("one_origin_per_row", False, True)
    assert list(failing(told)) == ["2015-02"]


def test_a_catalogue_with_an_impossible_place_stops_what_comes_after_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    group = dg.AssetSelection.assets("stations", "after")
    source = _doubled(off_the_earth=True)
    result = home.run(group, more=[_after(home, "stations")], resources={"source": source})
    assert not result.success
    assert made(result) == {"stations"}
    assert failing(evaluations(result)["places_are_real"]) == {"Odd": "latitude -91.0, longitude 0.0"}
