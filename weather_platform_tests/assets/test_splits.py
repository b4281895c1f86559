"""The split asset on real tables: which days of which years it takes, and what its manifest records."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.domain.splits import Span, Split, split_from_manifest
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import Home, days_of

TABLE = f"{TARGET}__split"
SPLIT = dg.AssetSelection.assets([TARGET, "split"])


@pytest.fixture
def observed(tmp_path: Path) -> Home:
    """2013 to 2015, without December 2014, and nothing after March 2015."""
    home = Home(tmp_path)
    home.know_stations()
    spans = {"2013": (1, 12, 31), "2014": (1, 11, 30), "2015": (1, 3, 31)}
    for year, (first_month, last_month, last_day) in spans.items():
        days = days_of(date(int(year), first_month, 1), date(int(year), last_month, last_day))
        home.observe(year, days, ("Albury", "Sydney", "Perth"))  # it always rains in Perth
    return home


def stored(home: Home, year: str) -> Split:
    return split_from_manifest(home.lake.snapshot(TABLE).read(keys=[year]))


def test_a_year_without_its_december_is_complete_when_the_next_year_has_labels(observed: Home) -> None:
    assert observed.run(dg.AssetSelection.assets("features"), "2013", "2014").success
    assert observed.run(SPLIT, "2014").success
    unfinished = stored(observed, "2014")
    assert (unfinished.complete, unfinished.test.last) == (False, date(2014, 11, 29))
    observed.run(dg.AssetSelection.assets("features"), "2014", "2015", raise_on_error=True)
    assert observed.run(SPLIT, "2014", "2015").success
    # 2014 whole needs 2012 to train on, which is not there: the year says so and takes no 90 days of spring instead.
    assert observed.lake.row_counts(TABLE, "year") == {"2014": 0, "2015": 4}
    newest = stored(observed, "2015")
    assert (newest.complete, newest.test) == (False, Span(date(2014, 12, 31), date(2015, 3, 30)))


def test_a_year_with_all_its_years_before_is_tested_whole(observed: Home) -> None:
    observed.observe("2012", days_of(date(2012, 1, 1), date(2012, 12, 31)), ("Albury", "Sydney", "Perth"))
    observed.run(dg.AssetSelection.assets("features"), "2012", "2015", raise_on_error=True)
    assert observed.run(SPLIT, "2014").success
    whole = stored(observed, "2014")
    assert (whole.complete, whole.test) == (True, Span(date(2014, 1, 1), date(2014, 12, 31)))
    assert whole.validation == Span(date(2013, 1, 1), date(2013, 12, 30))
