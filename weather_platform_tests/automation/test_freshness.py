"""What is late in a real home, and the notices about it."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from weather_platform.automation.freshness import late_parts, note_lateness
from weather_platform.database import Database
from weather_platform_tests.databases import migrated
from weather_platform_tests.stages import Home, days_of

SYDNEY = ZoneInfo("Australia/Sydney")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return migrated(tmp_path / "weather.db")


def late(home: Home, database: Database, day: int, hour: int) -> list[str]:
    """The late assets at this hour of a day of April, and the open notices."""
    now = datetime(2015, 4, day, hour, tzinfo=SYDNEY)
    found = late_parts(home.settings, database, now)
    note_lateness(database, found, now)
    with database.outbox(writing=False) as outbox:
        causes = [notice.cause for notice in outbox.notices(open_only=True)]
    assert sorted(causes) == sorted(f"data late: {each.asset}" for each in found)
    return [each.asset for each in found]


def observe(home: Home, year: str, first: date, last: date, *, features: bool = True) -> None:
    home.know_stations()
    home.observe(year, days_of(first, last))
    if features:
        assert home.run(dg.AssetSelection.assets("features"), year).success


def test_an_empty_home_is_not_late(home: Home, database: Database) -> None:
    assert late(home, database, 2, 23) == []


def test_silence_is_a_notice_until_the_reports_are_there(home: Home, database: Database) -> None:
    observe(home, "2015", date(2015, 3, 1), date(2015, 3, 31))
    assert late(home, database, 1, 20) == []
    assert late(home, database, 3, 20) == ["observations"]
    assert late(home, database, 3, 21) == ["observations"], "one notice of one cause"
    observe(home, "2015", date(2015, 3, 1), date(2015, 4, 2))
    assert late(home, database, 3, 22) == []


def test_an_old_year_that_is_made_again_does_not_make_the_newest_younger(home: Home, database: Database) -> None:
    observe(home, "2015", date(2015, 3, 1), date(2015, 3, 31))
    observe(home, "2014", date(2014, 3, 1), date(2014, 3, 31))
    assert late(home, database, 3, 20) == ["observations"]


def test_features_that_do_not_follow_are_late_and_their_reports_are_not(home: Home, database: Database) -> None:
    observe(home, "2015", date(2015, 3, 1), date(2015, 3, 30))
    observe(home, "2015", date(2015, 3, 1), date(2015, 4, 1), features=False)
    assert late(home, database, 2, 20) == ["features"]
    observe(home, "2015", date(2015, 3, 1), date(2015, 4, 1))
    assert late(home, database, 2, 20) == []
