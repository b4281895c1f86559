"""The sensors of notices on a real Dagster instance: runs that fail, fail again, and succeed."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.automation.notices import WILL_RETRY, notice_sensors, partitions_of
from weather_platform.automation.rollback import ROLLBACK_JOB
from weather_platform.database import Database
from weather_platform.database.outbox import NoticeRecord
from weather_platform.domain.notices import UNPARTITIONED
from weather_platform.errors import LakeError, WeatherError
from weather_platform.partitions import ONE, RANGE, year_partitions
from weather_platform.settings import load_settings
from weather_platform_tests.databases import migrated
from weather_platform_tests.notifications.conftest import NOON, notice, opened
from weather_platform_tests.notifications.servers import webhook

SECRET = "postgresql://user:pa55word@host"  # noqa: S105
YEARS = year_partitions(load_settings())


class Graph:
    """Two assets of years and one without, a Dagster instance, and the sensor with its cursor."""

    def __init__(self, instance: dg.DagsterInstance, database: Database) -> None:
        self.instance, self.database = instance, database
        self.cursor: str | None = None
        self.fault: Callable[[str], Exception | None] = lambda _asset: None
        [self.sensor, _] = notice_sensors(load_settings(), lambda: datetime.now(UTC), dg.DefaultSensorStatus.RUNNING)

        def asset(name: str, years: dg.PartitionsDefinition[str] | None) -> dg.AssetsDefinition:
            @dg.asset(name=name, partitions_def=years, backfill_policy=dg.BackfillPolicy.single_run())
            def made(context: dg.AssetExecutionContext) -> None:
                if (error := self.fault(name)) is not None:
                    raise error

            return made

        self.assets = [asset("features", YEARS), asset("alone", None)]

    def run(self, first: str = "2014", last: str | None = None, tags: dict[str, str] | None = None) -> str:
        """Materialise everything for these years; gives the run's id."""
        partitions = dict(zip(RANGE, (first, last), strict=True)) if last else {ONE: first}
        result = dg.materialize(
            self.assets, instance=self.instance, tags=partitions | (tags or {}), raise_on_error=False,
            partition_key=None if last else first,
        )  # fmt: skip
        return result.run_id

    def look(self) -> None:
        """One tick of the sensor."""
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources={"database": self.database})
        self.sensor.evaluate_tick(context)
        self.cursor = context.cursor

    def notices(self, *, open_only: bool = True) -> list[NoticeRecord]:
        with self.database.outbox(writing=False) as outbox:
            return outbox.notices(open_only=open_only)


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    database = migrated(tmp_path / "weather.db")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        graph = Graph(instance, database)
        graph.look()
        yield graph
    database.close()


def failing(error: Exception, *assets: str) -> Callable[[str], Exception | None]:
    return lambda name: error if name in assets else None


def test_a_failed_run_is_a_notice_that_ends_when_the_same_partitions_succeed(graph: Graph) -> None:
    graph.fault = failing(LakeError("the lake is away; start it"), "features")
    run = graph.run("2014")
    graph.look()
    [notice] = graph.notices()
    assert notice.title == "features failed"
    assert notice.text == "LakeError in features, job assets, for 2014: the lake is away; start it"
    assert (notice.items, notice.dagster_run_id) == (("2014",), run)
    graph.fault = failing(LakeError(""))
    graph.run("2015")
    graph.look()
    assert len(graph.notices()) == 1, "another year says nothing about this one"
    graph.run("2014")
    graph.look()
    assert graph.notices() == []


def test_many_failing_partitions_of_one_cause_are_one_notice_until_all_of_them_succeed(graph: Graph) -> None:
    graph.fault = failing(LakeError("away"), "features")
    for year in ("2011", "2012", "2013"):
        graph.run(year)
    graph.run("2014", "2016")
    graph.look()
    [notice] = graph.notices()
    assert notice.items == ("2011", "2012", "2013", "2014", "2015", "2016")
    graph.fault = failing(LakeError(""))
    graph.run("2010", "2015")
    graph.look()
    [notice] = graph.notices()
    assert notice.items == ("2016",)
    graph.run("2016")
    graph.look()
    assert graph.notices() == []


def test_another_step_and_another_kind_of_error_are_other_causes(graph: Graph) -> None:
    graph.fault = failing(LakeError("away"), "features", "alone")
    graph.run("2014")
    graph.fault = failing(ValueError("odd"), "features")
    graph.run("2014")
    graph.look()
    assert sorted(notice.cause for notice in graph.notices()) == [
        "run failed: features: LakeError",
        "run failed: features: ValueError",
    ], "the asset without partitions failed for 2014, and was materialised by the next run"


def test_an_asset_without_partitions_is_mended_by_a_run_for_any_partition(graph: Graph) -> None:
    graph.fault = failing(LakeError("away"), "alone")
    graph.run("2014")
    graph.look()
    assert [notice.cause for notice in graph.notices()] == ["run failed: alone: LakeError"]
    graph.fault = failing(LakeError(""))
    graph.run("2015")
    graph.look()
    assert graph.notices() == []


def test_a_run_that_will_be_retried_is_no_notice_yet(graph: Graph) -> None:
    graph.fault = failing(LakeError("away"), "features")
    graph.run("2014", tags={WILL_RETRY: "true"})
    graph.look()
    assert graph.notices() == []
    graph.run("2014", tags={WILL_RETRY: "false"})
    graph.look()
    assert len(graph.notices()) == 1


def test_a_run_whose_process_was_killed_is_a_notice_too(graph: Graph) -> None:
    whole = dg.Definitions(graph.assets, jobs=[dg.define_asset_job("process")])
    job = whole.resolve_job_def("process")
    run = graph.instance.create_run_for_job(job, tags={ONE: "2014"})
    graph.instance.report_run_failed(run, "the process of this run was killed")
    graph.look()
    [notice] = graph.notices()
    assert notice.cause.startswith("run failed in no step: process: ")
    assert notice.items == ("2014",)
    job.execute_in_process(instance=graph.instance, partition_key="2014")
    graph.look()
    assert graph.notices() == []


def test_a_refused_rollback_is_no_notice_as_the_person_who_asked_sees_it(graph: Graph) -> None:
    @dg.job(name=ROLLBACK_JOB)
    def rollback() -> None:
        dg.op(name="roll_back")(refuse)()

    assert not rollback.execute_in_process(instance=graph.instance, raise_on_error=False).success
    graph.look()
    assert graph.notices() == []


def refuse() -> None:
    raise LakeError("nothing to go back to")


def test_a_failed_check_that_stopped_the_run_is_named_with_what_it_found(graph: Graph) -> None:
    @dg.asset_check(asset="features", blocking=True)
    def rows_add_up() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False, description="2014: 3 raw rows, 1 clean")

    @dg.asset(deps=["features"], partitions_def=YEARS, backfill_policy=dg.BackfillPolicy.single_run())
    def below() -> None:
        """Never made."""

    assets: list[Any] = [graph.assets[0], rows_add_up, below]
    assert not dg.materialize(assets, instance=graph.instance, partition_key="2014", raise_on_error=False).success
    graph.look()
    [notice] = graph.notices()
    assert notice.text.endswith("for 2014: check rows_add_up of features: 2014: 3 raw rows, 1 clean")


def test_the_text_of_a_foreign_error_is_not_shown_as_it_may_hold_a_secret(graph: Graph, tmp_path: Path) -> None:
    graph.fault = failing(ConnectionError(f"cannot connect to {SECRET}"), "features")
    graph.run("2014")
    graph.look()
    [notice] = graph.notices()
    assert notice.text == "ConnectionError in features, job assets, for 2014"
    graph.database.close()
    assert all(b"pa55word" not in file.read_bytes() for file in tmp_path.glob("weather.db*"))


def test_nothing_is_lost_while_the_database_is_away_and_nothing_is_doubled_after_a_crash(
    graph: Graph, tmp_path: Path
) -> None:
    graph.fault = failing(LakeError("away"), "features")
    graph.run("2014")
    before = graph.cursor
    (tmp_path / "weather.db").rename(tmp_path / "away.db")
    graph.database.close()
    with pytest.raises(WeatherError):
        graph.look()
    assert graph.cursor == before
    graph.database.close()
    for name in ("weather.db", "weather.db-wal", "weather.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "away.db").rename(tmp_path / "weather.db")
    graph.look()
    graph.fault = failing(LakeError(""))
    graph.run("2014")
    graph.look()
    assert (len(graph.notices()), len(graph.notices(open_only=False))) == (0, 1)
    graph.cursor = before  # as if the daemon was killed before it kept the cursor
    graph.look()
    assert (len(graph.notices()), len(graph.notices(open_only=False))) == (0, 1)


def test_runs_from_before_the_first_look_are_passed_over(graph: Graph) -> None:
    graph.fault = failing(LakeError("away"), "features")
    graph.run("2014")
    graph.cursor = None
    graph.look()
    graph.look()
    assert graph.notices() == []


def test_more_runs_than_one_tick_takes_are_taken_by_the_next_in_their_order(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weather_platform.automation.notices._RUNS_A_TICK", 2)
    graph.fault = failing(LakeError("away"), "features")
    for year in ("2011", "2012", "2013"):
        graph.run(year)
    graph.fault = failing(LakeError(""))
    graph.run("2011", "2013")
    graph.look()
    [notice] = graph.notices()
    assert notice.items == ("2011", "2012"), "the success comes after a failure that is still to be read"
    graph.look()
    assert graph.notices() == []


@pytest.mark.parametrize(
    ("tags", "items"),
    [
        ({}, [UNPARTITIONED]),
        ({ONE: "2014-02"}, ["2014-02"]),
        (dict(zip(RANGE, ("2014-11", "2015-01"), strict=True)), ["2014-11", "2014-12", "2015-01"]),
        (dict(zip(RANGE, ("2014-02-27", "2014-03-01"), strict=True)), ["2014-02-27", "2014-02-28", "2014-03-01"]),
        (dict(zip(RANGE, ("1900-01", "2007-12"), strict=True)), ["2007-11", "2007-12"]),
        (dict(zip(RANGE, ("1900", "1901"), strict=True)), ["1900 to 1901"]),
        (dict(zip(RANGE, ("a", "b"), strict=True)), ["a to b"]),
    ],
)
def test_the_partitions_of_a_run_are_named_by_its_tags(tags: dict[str, str], items: list[str]) -> None:
    assert partitions_of(tags, load_settings()) == items


def test_the_sending_sensor_sends_what_is_due_and_says_what_it_could_not_send(tmp_path: Path) -> None:
    database = migrated(tmp_path / "weather.db")
    opened(database, notice("one"), notice("two"))
    with webhook() as hook, webhook(500) as broken, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        channels = [{"name": "team", "url": hook.url}, {"name": "broken", "url": broken.url}]
        settings = load_settings(notify_channels=json.dumps(channels))
        [_, send] = notice_sensors(settings, lambda: NOON, dg.DefaultSensorStatus.RUNNING)
        ticks = [
            send.evaluate_tick(dg.build_sensor_context(instance, resources={"database": database})).skip_message
            for _ in range(2)
        ]
        assert len(hook.received) == 2
    assert ticks == [
        "2 messages sent; not sent: broken: the channel answered 500; it has a fault of its own",
        "0 messages sent; not sent: broken: the channel answered 500; it has a fault of its own",
    ], "one try of a failing channel in each tick"
    database.close()


def test_notices_are_sent_while_the_lake_is_away_and_the_tick_says_so(tmp_path: Path) -> None:
    """What is late is read from the lake: that fails the tick, after the notices went out."""
    database = migrated(tmp_path / "weather.db")
    opened(database, notice("one"))
    log = tmp_path / "home" / "lake" / "observations" / "_delta_log"
    log.mkdir(parents=True)
    (log / "00000000000000000000.json").write_text("this is no log")
    with webhook() as hook, dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        channels = json.dumps([{"name": "team", "url": hook.url}])
        settings = load_settings(home=tmp_path / "home", notify_channels=channels)
        [_, send] = notice_sensors(settings, lambda: NOON, dg.DefaultSensorStatus.RUNNING)
        with pytest.raises(WeatherError, match="observations"):
            send.evaluate_tick(dg.build_sensor_context(instance, resources={"database": database}))
        assert len(hook.received) == 1
    database.close()
