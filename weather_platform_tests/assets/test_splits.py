"""The split asset on real tables: which days of which years it takes, and what its manifest records."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.automation.plan import newest_split
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


def newest(as_of: str | None = None) -> dict[str, Any]:
    return {"ops": {f"{TARGET}__split": {"config": {"kind": "newest"} | ({"as_of": as_of} if as_of else {})}}}


def test_the_newest_data_are_split_as_of_a_day_and_the_manifest_records_it(observed: Home) -> None:
    observed.run(dg.AssetSelection.assets("features"), "2013", "2015", raise_on_error=True)
    assert observed.run(SPLIT, "2015", config=newest("2015-02-28")).success
    split = stored(observed, "2015")
    assert (split.kind, split.as_of) == ("newest", date(2015, 2, 28))
    assert split.test == Span(date(2014, 11, 30), date(2015, 2, 27))
    assert observed.run(SPLIT, "2014", config=newest()).success
    assert stored(observed, "2014").test == Span(date(2014, 9, 1), date(2014, 11, 29)), "the newest labels of the year"


def test_a_split_without_config_is_that_of_the_year(observed: Home) -> None:
    observed.run(dg.AssetSelection.assets("features"), "2013", "2015", raise_on_error=True)
    assert observed.run(SPLIT, "2015", config=newest("2015-02-28")).success
    assert observed.run(SPLIT, "2015").success
    assert (stored(observed, "2015").kind, stored(observed, "2015").test.last) == ("complete_year", date(2015, 3, 30))


@pytest.mark.parametrize(
    ("year", "config", "said"),
    [
        ("2014", {"kind": "newest", "as_of": "2015-02-28"}, "the day must be of that year"),
        ("2015", {"kind": "newest", "as_of": "2015-02-30"}, "day is out of range"),
        ("2015", {"as_of": "2015-02-28"}, "as_of is of the kind `newest`"),
        ("2015", {"kind": "weekly"}, "weekly"),
    ],
)
def test_a_split_of_another_kind_or_day_is_refused(
    observed: Home, year: str, config: dict[str, str], said: str
) -> None:
    observed.run(dg.AssetSelection.assets("features"), "2013", "2015", raise_on_error=True)
    with pytest.raises(Exception, match=said):
        observed.run(SPLIT, year, config={"ops": {f"{TARGET}__split": {"config": config}}}, raise_on_error=True)
    assert not observed.lake.exists(TABLE)


def test_the_run_of_a_decision_splits_at_the_end_of_its_month() -> None:
    assert newest_split(TARGET, "2016-02") == newest("2016-02-29")


def test_a_year_with_all_its_years_before_is_tested_whole(observed: Home) -> None:
    observed.observe("2012", days_of(date(2012, 1, 1), date(2012, 12, 31)), ("Albury", "Sydney", "Perth"))
    observed.run(dg.AssetSelection.assets("features"), "2012", "2015", raise_on_error=True)
    assert observed.run(SPLIT, "2014").success
    whole = stored(observed, "2014")
    assert (whole.complete, whole.test) == (True, Span(date(2014, 1, 1), date(2014, 12, 31)))
    assert whole.validation == Span(date(2013, 1, 1), date(2013, 12, 30))
