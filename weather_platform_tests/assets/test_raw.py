"""Stage raw over months that the source does not cover, as *Materialize all* and *Latest* in the UI ask for them."""

from datetime import date
from pathlib import Path

import dagster as dg

from weather_platform_tests.stages import Home, evaluations

RAW = dg.AssetSelection.groups("raw")


def reasons(result: dg.ExecuteInProcessResult) -> dict[str | None, str]:
    """Why partitions of a run were passed over."""
    told = [event.materialization for event in result.get_asset_materialization_events()]
    return {each.partition: str(each.metadata["reason"].value) for each in told if "reason" in each.metadata}


def test_months_that_the_source_does_not_cover_are_passed_over_with_a_reason(tmp_path: Path) -> None:
    home = Home(tmp_path)
    result = home.run(RAW, "2015-02", "2015-05")
    assert result.success
    said = "is passed over: the source covers the months 2013-01 to 2015-03"
    assert reasons(result) == {"2015-04": f"2015-04 {said}", "2015-05": f"2015-05 {said}"}
    assert set(home.lake.row_counts("raw_observations", "month")) == {"2015-02", "2015-03"}
    assert evaluations(result)["one_origin_per_row"].passed


def test_a_run_over_nothing_that_is_covered_stores_nothing_and_ends_well(tmp_path: Path) -> None:
    home = Home(tmp_path)
    result = home.run(RAW, "2007-11")
    assert result.success
    assert list(reasons(result)) == ["2007-11"]
    assert home.run(RAW, "2015-02").success
    assert set(home.lake.row_counts("raw_observations", "month")) == {"2015-02"}


def test_what_is_stored_of_a_month_that_the_source_no_longer_covers_stays(tmp_path: Path) -> None:
    assert Home(tmp_path).run(RAW, "2015-02", "2015-03").success
    shorter = Home(tmp_path, synthetic_last_day=date(2015, 2, 28))
    before = shorter.lake.row_counts("raw_observations", "month")
    result = shorter.run(RAW, "2015-02", "2015-03")
    assert result.success
    assert list(reasons(result)) == ["2015-03"]
    assert shorter.lake.row_counts("raw_observations", "month") == before
