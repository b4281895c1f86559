"""The automation conditions tick by tick, on a real home with its own Dagster: what they ask for, and when not."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from weather_platform.automation.conditions import NAME
from weather_platform.automation.plan import StageRun
from weather_platform.cli.runs import console_of_errors, execute
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import WeatherError
from weather_platform.partitions import RANGE
from weather_platform_tests.e2e.homes import MadeHome, copied, environment
from weather_platform_tests.small_models import TARGET

NEWEST = date(2015, 6, 30)
STAGES = {
    "raw_observations": "ingest",
    "observations": "process",
    "quarantined_observations": "process",
    "features": "process",
    "forecasts": "forecast",
    "matured_skill": "watch",
    "drift_report": "watch",
}
CLEANED = {"observations": ["2015"], "quarantined_observations": ["2015"], "features": ["2015"]}
Asked = Mapping[str, Sequence[str]]


class Followed:
    """A home, and the sensor of its conditions from tick to tick."""

    def __init__(self, home: MadeHome) -> None:
        self.home = home
        self.cursor: str | None = None

    def tick(self, home: MadeHome | None = None) -> dict[str, list[str]]:
        """One tick: the partitions that it asks for, by asset."""
        home = home or self.home
        repository = home.graph.get_repository_def()
        with (
            home.dagster() as instance,
            dg.build_sensor_context(instance, cursor=self.cursor, repository_def=repository) as context,
        ):
            ticked = repository.get_sensor_def(NAME).evaluate_tick(context)
        self.cursor = ticked.cursor
        asked: dict[str, set[str]] = {}
        for request in ticked.run_requests or []:
            if request.asset_graph_subset is not None:  # a range: Dagster makes a backfill of it, which is one run
                for key in request.asset_graph_subset.asset_keys:
                    keys = request.asset_graph_subset.get_partitions_subset(key).get_partition_keys()
                    asked.setdefault(key.to_user_string(), set()).update(keys)
            else:
                for key in request.asset_selection or []:
                    asked.setdefault(key.to_user_string(), set()).add(request.partition_key or "")
        return {asset: sorted(keys) for asset, keys in sorted(asked.items())}

    def run(self, asked: Asked) -> None:
        """Carry out what a tick asked for."""
        for stage, first, last in {(STAGES[asset.split("/")[-1]], keys[0], keys[-1]) for asset, keys in asked.items()}:
            of_stage = {asset.split("/")[-1] for asset in asked if STAGES[asset.split("/")[-1]] == stage}
            self.stage(stage, first, last, only=of_stage.pop() if len(of_stage) == 1 else None)

    def stage(self, job: str, first: str, last: str | None = None, *, only: str | None = None) -> None:
        """A stage of the graph over a range."""
        graph = self.home.graph
        with self.home.dagster() as instance:
            run = StageRun(job, first, last or first, only)
            execute(graph, instance, run, console_of_errors(), targets=list(TARGETS))

    def check(self, asset: str, partition: str) -> None:
        """The checks of an asset alone, over one partition."""
        selection = dg.AssetSelection.checks_for_assets(asset)
        job = dg.define_asset_job("checks", selection=selection, executor_def=dg.in_process_executor)
        graph = dg.Definitions.merge(self.home.graph, dg.Definitions(jobs=[job]))
        with self.home.dagster() as instance:
            tags = dict.fromkeys(RANGE, partition)
            graph.resolve_job_def("checks").execute_in_process(instance=instance, tags=tags, raise_on_error=False)

    def until_quiet(self) -> list[dict[str, list[str]]]:
        """Ticks and their runs until a tick asks for nothing; what each asked for."""
        all_asked = []
        while asked := self.tick():
            all_asked.append(asked)
            assert len(all_asked) < 10, all_asked
            self.run(asked)
        return all_asked

    def take(self, month: str, missing: pa.compute.Expression) -> pa.Table:
        """Receive a month without some of its rows; the whole month."""
        whole = self.home.lake.snapshot("raw_observations").read(keys=[month])
        self.give(month, whole.filter(~missing))
        return whole

    def give(self, month: str, rows: pa.Table) -> None:
        """Receive these rows of a month, as the asset would."""
        version = self.home.lake.replace_partition("raw_observations", "month", month, rows)
        with self.home.dagster() as instance:
            metadata = {"lake_version": version, "rows": rows.num_rows}
            instance.report_runless_asset_event(
                dg.AssetMaterialization("raw_observations", partition=month, metadata=metadata)
            )


def on(day: date, station: str | None = None) -> pc.Expression:
    """The raw rows of a day, of one station or of all."""
    rows = pc.field("day") == day
    return rows if station is None else rows & (pc.field("station") == station)


def both(of: str, *keys: str) -> dict[str, list[str]]:
    """An asset of each target."""
    return {f"{target}/{of}": list(keys) for target in TARGETS}


@pytest.fixture(scope="module")
def settled_home(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """The shared home after its first ticks."""
    followed = Followed(copied(first, tmp_path_factory.mktemp("settled") / "home"))
    asked = followed.until_quiet()
    assert asked == [both("matured_skill", "2015-06")], "history is left alone; what was forecast is measured"
    return followed


@pytest.fixture
def settled(settled_home: Followed, tmp_path: Path) -> Followed:
    """A copy of that home, with the cursor of its sensor."""
    followed = Followed(copied(settled_home.home, tmp_path / "home"))
    followed.cursor = settled_home.cursor
    return followed


@contextmanager
def day_of_july() -> Iterator[None]:
    """The source has one day more."""
    with environment({"WEATHER_SYNTHETIC_LAST_DAY": "2015-07-01"}):
        yield


def test_one_new_day_costs_its_year_one_day_of_forecasts_and_the_months_it_answers(settled: Followed) -> None:
    later = MadeHome(settled.home.folder, {**settled.home.env, "WEATHER_SYNTHETIC_LAST_DAY": "2015-07-01"})
    with day_of_july():
        Followed(later).stage("ingest", "2015-07")
    asked = settled.until_quiet()
    assert asked == [
        CLEANED,
        both("forecasts", "2015-07-01") | both("matured_skill", "2015-06"),
        both("matured_skill", "2015-07"),
    ]
    forecasts = settled.home.database.forecasts(TARGET, date(2015, 7, 1), date(2015, 7, 1))
    assert set(forecasts["kind"].to_pylist()) == {"live"}


def test_several_changes_between_two_ticks_are_followed_once(settled: Followed) -> None:
    """As when the code location was away: nothing is missed, and nothing is asked for twice."""
    whole = settled.take("2015-06", on(NEWEST, "Albury"))
    settled.give("2015-06", whole)
    settled.take("2015-06", on(NEWEST, "Albury"))
    asked = settled.until_quiet()
    assert asked[:2] == [CLEANED, both("forecasts", *(both_days(asked)))]
    settled.cursor = None
    assert settled.tick() == {}, "a lost cursor asks for nothing"


def both_days(asked: Sequence[Asked]) -> Sequence[str]:
    """The days of the forecasts that were asked for, the same for both targets."""
    days = {tuple(keys) for each in asked for asset, keys in each.items() if asset.endswith("/forecasts")}
    assert len(days) == 1
    return list(days.pop())


def test_a_late_report_makes_its_days_again_as_hindcasts_and_nothing_else(settled: Followed) -> None:
    late = date(2015, 6, 20)
    whole = settled.take("2015-06", on(late, "Albury"))
    settled.until_quiet()
    before = settled.home.database.forecasts(TARGET, date(2015, 1, 1), NEWEST)
    assert not before.filter((pc.field("day") == late) & (pc.field("station") == "Albury")).num_rows
    settled.give("2015-06", whole)
    asked = settled.until_quiet()
    assert asked[0] == CLEANED
    days = [date.fromisoformat(day) for day in both_days(asked)]
    assert late in days
    assert all(late <= day <= late + timedelta(days=30) for day in days)
    assert asked[-1] == both("matured_skill", "2015-06")
    after = settled.home.database.forecasts(TARGET, late, late)
    kinds = dict(zip(after["station"].to_pylist(), after["kind"].to_pylist(), strict=True))
    assert kinds["Albury"] == "hindcast"
    untouched = before.filter(pc.field("day") < late)
    assert settled.home.database.forecasts(TARGET, date(2015, 1, 1), late - timedelta(days=1)).equals(untouched)


def test_a_month_that_is_received_again_as_it_was_changes_no_forecast(settled: Followed) -> None:
    settled.give("2015-06", settled.home.lake.snapshot("raw_observations").read(keys=["2015-06"]))
    assert settled.until_quiet() == [CLEANED]


def test_the_first_day_of_a_year_labels_the_year_before(settled: Followed) -> None:
    settled.take("2014-01", on(date(2014, 1, 1), "Albury"))
    assert settled.until_quiet() == [
        {asset: ["2014"] for asset in CLEANED},
        {"features": ["2013"]},
    ]


def test_years_that_follow_each_other_are_one_request(settled: Followed) -> None:
    for month in ("2013-05", "2014-05"):
        settled.take(month, on(date.fromisoformat(f"{month}-10"), "Albury"))
    assert settled.tick() == {asset: ["2013", "2014"] for asset in CLEANED}


def test_what_is_in_flight_is_not_asked_for_and_is_looked_at_when_it_has_ended(settled: Followed) -> None:
    settled.take("2015-06", on(NEWEST, "Albury"))
    graph = settled.home.graph
    with settled.home.dagster() as instance:
        run = instance.create_run_for_job(
            graph.resolve_job_def("process"), tags={"dagster/partition": "2015"}, status=dg.DagsterRunStatus.STARTED
        )
    assert settled.tick() == {}
    assert settled.tick() == {}
    with settled.home.dagster() as instance:
        stored = instance.get_run_by_id(run.run_id)
        assert stored is not None
        instance.report_run_canceled(stored)
    assert settled.tick() == CLEANED


def test_a_run_that_failed_is_not_asked_for_again_until_something_changes(settled: Followed) -> None:
    whole = settled.take("2015-06", on(NEWEST, "Albury"))
    assert settled.tick() == CLEANED
    stations = settled.home.folder / "lake" / "stations"
    stations.rename(stations.with_name("away"))
    with pytest.raises(WeatherError):
        settled.run(CLEANED)
    stations.with_name("away").rename(stations)
    assert [settled.tick() for _ in range(3)] == [{}, {}, {}]
    settled.give("2015-06", whole)
    assert settled.tick() == CLEANED


def test_a_failed_blocking_check_stops_what_is_below_until_it_is_repaired(settled: Followed) -> None:
    """Clean rows are written beside the graph: they are not as many as the raw ones, and the check says so."""
    rows = settled.home.lake.snapshot("observations").read(keys=["2015"])
    fewer = rows.filter(~on(NEWEST, "Albury"))
    version = settled.home.lake.replace_partition("observations", "year", "2015", fewer)
    with settled.home.dagster() as instance:
        metadata = {"lake_version": version, "rows": fewer.num_rows, "raw_observations_lake_version": 1_000}
        instance.report_runless_asset_event(
            dg.AssetMaterialization("observations", partition="2015", metadata=metadata)
        )
    settled.check("observations", "2015")
    assert settled.tick() == {}, "the features are behind, and the check holds them back"
    settled.check("observations", "2014")
    assert settled.tick() == {}, "a check that passes for another year does not hide it"
    settled.home.lake.replace_partition("observations", "year", "2015", rows)
    settled.check("observations", "2015")
    assert settled.tick() == {"features": ["2015"]}


def test_nothing_is_asked_for_partitions_whose_source_does_not_exist(settled: Followed) -> None:
    """The years and months to come, and those before the first: they have partitions and nothing to be made from."""
    with settled.home.dagster() as instance:
        for table in ("raw_observations", "observations", "features"):
            instance.wipe_assets([dg.AssetKey(table)])
    settled.cursor = None
    assert settled.tick() == {}


def test_a_month_that_has_ended_is_asked_for_once_by_the_clock(settled: Followed) -> None:
    """The home ends on 30 June: May is whole, and nothing was reported of it."""
    repository = settled.home.graph.get_repository_def()

    def tick() -> dg.RunRequest | str:
        moment = datetime(2015, 7, 1, 6, tzinfo=ZoneInfo("Australia/Sydney"))
        with (
            settled.home.dagster() as instance,
            dg.build_schedule_context(instance, scheduled_execution_time=moment, repository_def=repository) as context,
        ):
            ticked = repository.get_schedule_def("month_ended").evaluate_tick(context)
        return ticked.run_requests[0] if ticked.run_requests else ticked.skip_message or ""

    request = tick()
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.tags[RANGE[0]], request.tags[RANGE[1]]) == ("2015-05", "2015-05", "2015-05")
    settled.stage("watch", "2015-05")
    assert tick() == "2015-05 is reported on and decided"
