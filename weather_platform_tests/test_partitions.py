"""The three grains of partitions: where they begin, that the current one exists, and in whose time."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.partitions import day_partitions, month_partitions, year_partitions
from weather_platform.settings import Settings

Grain = Callable[[Settings], dg.TimeWindowPartitionsDefinition]
MIDDAY_UTC = datetime(2026, 3, 15, 12, tzinfo=UTC)
JUST_NEW_YEAR_IN_SYDNEY = datetime(2025, 12, 31, 13, 30, tzinfo=UTC)
"""00:30 on 1 January in Sydney, 21:30 on 31 December in Perth."""


def keys(grain: Grain, home: Path, now: datetime, **settings: str) -> list[str]:
    return list(grain(Settings(home=home, **settings)).get_partition_keys(current_time=now))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("grain", "first", "current"),
    [
        (month_partitions, "2007-11", "2026-03"),
        (year_partitions, "2007", "2026"),
        (day_partitions, "2007-11-01", "2026-03-15"),
    ],
)
def test_partitions_run_from_the_first_month_to_the_current_one_without_a_hole(
    tmp_path: Path, grain: Grain, first: str, current: str
) -> None:
    found = keys(grain, tmp_path, MIDDAY_UTC)
    assert (found[0], found[-1]) == (first, current)
    assert found == sorted(set(found))
    expected: dict[Grain, int] = {month_partitions: 18 * 12 + 5, year_partitions: 20, day_partitions: 6710}
    assert len(found) == expected[grain]


@pytest.mark.parametrize(
    ("grain", "sydney", "perth"),
    [
        (month_partitions, "2026-01", "2025-12"),
        (year_partitions, "2026", "2025"),
        (day_partitions, "2026-01-01", "2025-12-31"),
    ],
)
def test_the_current_partition_is_that_of_the_platforms_time_zone(
    tmp_path: Path, grain: Grain, sydney: str, perth: str
) -> None:
    assert keys(grain, tmp_path, JUST_NEW_YEAR_IN_SYDNEY)[-1] == sydney
    assert keys(grain, tmp_path, JUST_NEW_YEAR_IN_SYDNEY, timezone="Australia/Perth")[-1] == perth


def test_the_first_month_is_a_setting_and_the_year_that_holds_it_is_there_whole(tmp_path: Path) -> None:
    assert keys(month_partitions, tmp_path, MIDDAY_UTC, first_month="2020-07")[0] == "2020-07"
    assert keys(year_partitions, tmp_path, MIDDAY_UTC, first_month="2020-07")[0] == "2020"
    assert keys(day_partitions, tmp_path, MIDDAY_UTC, first_month="2020-07")[0] == "2020-07-01"


def test_every_day_of_a_leap_year_and_of_a_change_to_summer_time_is_there_once(tmp_path: Path) -> None:
    found = keys(day_partitions, tmp_path, MIDDAY_UTC)
    assert "2024-02-29" in found
    assert "2025-02-29" not in found
    for change in ("2025-04-06", "2025-10-05"):  # the clock goes back, and forward, in Sydney
        assert found.count(change) == 1


def test_a_year_holds_its_twelve_months(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    mapping = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
    years, months = year_partitions(settings), month_partitions(settings)
    for year, count in (("2007", 2), ("2012", 12)):
        subset = years.empty_subset().with_partition_keys([year])
        mapped = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, years, months, current_time=MIDDAY_UTC
        )
        found = sorted(mapped.partitions_subset.get_partition_keys())
        assert len(found) == count
        assert {key[:4] for key in found} == {year}
