"""What the housekeeping lets go of, and what stays: on a real instance with real runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.automation.housekeeping import forget_runs
from weather_platform_tests.stages import Home

NOW = datetime.now(UTC)
LATER = NOW + timedelta(days=1)
DAYS = dg.DailyPartitionsDefinition("2015-01-01")


@dg.asset(partitions_def=DAYS)
def reports() -> None:
    """A partitioned asset."""


@dg.asset
def catalogue() -> None:
    """An asset without partitions."""


@dg.asset
def broken() -> None:
    """An asset whose run fails."""
    raise ValueError("not today")


@pytest.fixture
def instance(tmp_path: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(tmp_path))


def run(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, day: str | None = None) -> str:
    return dg.materialize([asset], instance=instance, partition_key=day, raise_on_error=False).run_id


def test_superseded_and_failed_runs_go_and_the_newest_of_every_partition_stays(instance: dg.DagsterInstance) -> None:
    first = run(instance, reports, "2015-01-01")
    second = run(instance, reports, "2015-01-02")
    again = run(instance, reports, "2015-01-01")
    old, new = run(instance, catalogue), run(instance, catalogue)
    failed = run(instance, broken)
    assert forget_runs(instance, LATER) == 3
    assert {each.run_id for each in instance.get_runs()} == {second, again, new}
    assert {first, old, failed}.isdisjoint(each.run_id for each in instance.get_runs())
    assert instance.get_materialized_partitions(dg.AssetKey("reports")) == {"2015-01-01", "2015-01-02"}
    newest = instance.get_latest_materialization_event(dg.AssetKey("catalogue"))
    assert newest is not None
    assert newest.run_id == new
    assert forget_runs(instance, LATER) == 0


def test_what_is_young_or_in_flight_stays(instance: dg.DagsterInstance) -> None:
    run(instance, reports, "2015-01-01")
    run(instance, reports, "2015-01-01")
    assert forget_runs(instance, NOW - timedelta(days=1)) == 0
    job = dg.Definitions(assets=[catalogue]).resolve_implicit_global_asset_job_def()
    flying = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert forget_runs(instance, LATER) == 1
    assert flying.run_id in {each.run_id for each in instance.get_runs()}


def test_the_job_runs_and_says_what_it_let_go_of(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    (home.settings.home / "scratch" / "left").mkdir(parents=True)
    result = home.graph.resolve_job_def("housekeeping").execute_in_process(instance=home.instance)
    assert result.success
