"""A metered asset tells what its step cost, once a range, storing included; a step that failed leaves no meter."""

import gc
import threading
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from weather_platform.assets.catalogue import LAKE_IO
from weather_platform.io_managers.costs import CPU_SECONDS, PEAK_MEMORY_MB, ROWS_PER_SECOND, WALL_SECONDS, metered
from weather_platform.lake.partitions import ComputedPartitions
from weather_platform_tests.stages import Home

FIGURES = {WALL_SECONDS, CPU_SECONDS, PEAK_MEMORY_MB}
DAYS = dg.TimeWindowPartitionsDefinition(cron_schedule="0 0 * * *", fmt="%Y-%m-%d", start="2015-01-01", end_offset=1)


def materialized(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], Mapping[str, Any]]:
    """What a run told of its assets, by asset and partition."""
    events = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {
        (each.asset_key.to_user_string(), each.partition): {name: value.value for name, value in each.metadata.items()}
        for each in events
    }


@dg.asset(
    partitions_def=DAYS, io_manager_key=LAKE_IO, dagster_type=dg.Any, backfill_policy=dg.BackfillPolicy.single_run()
)
@metered
def slow_days(context: dg.AssetExecutionContext) -> ComputedPartitions[pa.Table]:
    """Three rows a day, each day computed when it is stored."""

    def of_day(key: str) -> pa.Table:
        time.sleep(0.1)
        day = date.fromisoformat(key)
        return pa.table({"day": pa.array([key] * 3), "number": pa.array([day.day] * 3)})

    return ComputedPartitions(context.partition_keys, of_day)


def test_days_that_are_computed_while_they_are_stored_count_and_are_told_once(tmp_path: Path) -> None:
    result = Home(tmp_path).run(dg.AssetSelection.assets("slow_days"), "2015-01-01", "2015-01-04", more=[slow_days])
    found = materialized(result)
    *before, newest = [found["slow_days", f"2015-01-0{day}"] for day in range(1, 5)]
    assert all(FIGURES.isdisjoint(each) for each in before)
    assert newest[WALL_SECONDS] >= 0.4
    assert newest[CPU_SECONDS] < newest[WALL_SECONDS]
    assert newest[ROWS_PER_SECOND] == pytest.approx(12 / newest[WALL_SECONDS], rel=0.01)


@dg.asset(io_manager_key=LAKE_IO)
@metered
def broken_table(context: dg.AssetExecutionContext) -> pa.Table:
    """Fails after its meter has started."""
    raise ValueError("broken on purpose")


@dg.asset(io_manager_key=LAKE_IO)
def strange_table(context: dg.AssetExecutionContext) -> pa.Table:
    """An asset of somebody else."""
    return pa.table({"number": [1]})


def test_a_step_that_fails_leaves_no_meter_running(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    result = Home(tmp_path).run(dg.AssetSelection.assets("broken_table"), more=[broken_table])
    assert not result.success
    del result
    gc.collect()
    left = [thread for thread in threading.enumerate() if thread.name == "meter" and thread not in before]
    for thread in left:
        thread.join(10)
    assert not [thread for thread in left if thread.is_alive()]


def test_an_asset_without_a_meter_is_stored_all_the_same(tmp_path: Path) -> None:
    result = Home(tmp_path).run(dg.AssetSelection.assets("strange_table"), more=[strange_table])
    assert FIGURES.isdisjoint(materialized(result)["strange_table", None])
