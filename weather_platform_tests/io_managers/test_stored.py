"""What materialisations tell of the days that changed, on a real lake and a real instance."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc
import pytest

from weather_platform.domain.day_versions import DayVersions
from weather_platform.io_managers.stored import (
    INPUTS,
    LABELS,
    ROWS,
    NewestEvents,
    Stored,
    changes_of,
    metadata_of,
    newest_event,
    stored_by,
)
from weather_platform_tests.stages import Home, days_of

JANUARY = days_of(date(2015, 1, 1), date(2015, 1, 31))
OBSERVATIONS, FEATURES = dg.AssetKey("observations"), dg.AssetKey("features")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def store(home: Home, days: list[date], *, killed: bool = False, shade: float | None = None) -> int:
    """Store a year of clean rows and record it; `killed`: the process died before it was recorded."""
    home.observe("2015", days)
    if shade is not None:
        rows = home.lake.snapshot("observations").read()
        other = pc.if_else(pc.equal(rows["day"], days[-1]), shade, rows["humidity_3pm_pct"])
        rows = rows.set_column(rows.column_names.index("humidity_3pm_pct"), "humidity_3pm_pct", other)
        home.lake.replace_partition("observations", "year", "2015", rows)
    version = home.lake.version("observations")
    if not killed:
        told = changes_of(home.instance, home.lake, "observations", "2015", version)
        stored = {"lake_version": version, "rows": 2 * len(days), "raw_observations_lake_version": 5}
        metadata: dict[str, Any] = {**stored, **told}
        home.instance.report_runless_asset_event(
            dg.AssetMaterialization(OBSERVATIONS, partition="2015", metadata=metadata)
        )
    return version


def newest(home: Home) -> Stored:
    found = newest_event(home.instance, OBSERVATIONS, "2015", stored_by)
    assert found is not None
    return found


def test_the_first_time_every_day_is_of_this_version(home: Home) -> None:
    version = store(home, JANUARY)
    assert newest(home).days(ROWS) == DayVersions(dict.fromkeys(JANUARY, version))
    assert (newest(home).last_day, newest(home).rows) == (JANUARY[-1], 62)
    assert newest(home).read == {"raw_observations": 5}


def test_a_day_more_and_a_day_that_changed_are_of_the_new_version_and_others_of_the_old(home: Home) -> None:
    first = store(home, JANUARY[:30])
    second = store(home, JANUARY)
    assert newest(home).days(ROWS) == DayVersions(dict.fromkeys(JANUARY, first)).changed_in(second, JANUARY[30:])
    third = store(home, JANUARY, shade=99.0)
    assert newest(home).days(ROWS).newest(JANUARY[:30]) == first
    assert newest(home).days(ROWS).get(JANUARY[30]) == third
    store(home, JANUARY, shade=99.0)
    assert newest(home).days(ROWS).newest() == third, "nothing changed"


def test_a_day_that_lost_its_rows_changed_too(home: Home) -> None:
    store(home, JANUARY)
    version = store(home, JANUARY[:30])
    assert newest(home).days(ROWS).get(JANUARY[30]) == version
    assert newest(home).last_day == JANUARY[29]


def test_what_a_killed_process_stored_without_recording_it_is_still_a_change(home: Home) -> None:
    first = store(home, JANUARY[:30])
    store(home, JANUARY, killed=True)
    version = store(home, JANUARY)
    assert newest(home).days(ROWS).get(JANUARY[30]) == version
    assert newest(home).days(ROWS).newest(JANUARY[:30]) == first


def test_without_the_files_of_the_version_before_every_day_counts_as_changed(home: Home) -> None:
    store(home, JANUARY)
    for file in (home.settings.home / "lake" / "observations").rglob("*.parquet"):
        file.unlink()
    version = store(home, JANUARY)
    assert set(dict(newest(home).days(ROWS).items()).values()) == {version}


def test_a_lake_that_is_away_is_no_change(home: Home) -> None:
    version = store(home, JANUARY)
    shutil.rmtree(home.settings.home / "lake")
    with pytest.raises(Exception, match="observations"):
        changes_of(home.instance, home.lake, "observations", "2015", version)


def test_a_label_that_arrives_changes_no_input(home: Home) -> None:
    home.know_stations()
    for days in (JANUARY[:30], JANUARY):
        home.observe("2015", days)
        assert home.run(dg.AssetSelection.assets("features"), "2015").success
    stored = newest_event(home.instance, FEATURES, "2015", stored_by)
    assert stored is not None
    inputs, labels = stored.days(INPUTS), stored.days(LABELS)
    assert inputs.newest(JANUARY[:30]) < inputs.get(JANUARY[30]) == stored.version
    assert labels.newest(JANUARY[:29]) < labels.get(JANUARY[29]) == stored.version


def test_what_is_told_of_other_tables_is_nothing(home: Home) -> None:
    assert changes_of(home.instance, home.lake, "raw_observations", "2015-01", 3) == {}


def test_a_partition_that_was_passed_over_last_is_what_it_was_before(home: Home) -> None:
    version, events = store(home, JANUARY), NewestEvents(stored_by)
    home.instance.report_runless_asset_event(
        dg.AssetMaterialization(OBSERVATIONS, partition="2015", metadata={"reason": "nothing is observed"})
    )
    home.instance.report_runless_asset_event(
        dg.AssetMaterialization(OBSERVATIONS, partition="2007", metadata={"reason": "nothing is observed"})
    )
    for _ in range(2):
        found = events.of(home.instance, OBSERVATIONS)
        assert {key: stored.version for key, stored in found.items()} == {"2015": version}


def test_an_event_is_read_once(home: Home) -> None:
    read: list[str | None] = []
    events = NewestEvents(lambda record: read.append(record.partition_key) or metadata_of(record)["rows"])  # type: ignore[func-returns-value]
    store(home, JANUARY[:30])
    assert (events.of(home.instance, OBSERVATIONS), events.of(home.instance, OBSERVATIONS)) == ({"2015": 60},) * 2
    assert read == ["2015"]
    store(home, JANUARY)
    assert events.of(home.instance, OBSERVATIONS) == {"2015": 62}
    home.instance.wipe_assets([OBSERVATIONS])
    assert events.of(home.instance, OBSERVATIONS) == {}
