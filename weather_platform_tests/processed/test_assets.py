"""The multi-asset and its checks under a real Dagster, on a real lake, and the features that are made of it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.errors import DagsterUserCodeExecutionError

from weather_platform.assets.features import features_asset
from weather_platform.assets.processed import processed_assets, publish_years, refuse_lost_rows
from weather_platform.automation.notices import note_run
from weather_platform.checks.processed import processed_checks
from weather_platform.domain.features import feature_names
from weather_platform.domain.observations import OBSERVATIONS_SCHEMA
from weather_platform.errors import InvariantError, PartitionMissingError
from weather_platform.io_managers.lake import LakeIOManager
from weather_platform.lake import Lake, TablePartitions
from weather_platform.partitions import month_partitions, year_partitions
from weather_platform.resources.dbt import CleanedYears, DbtCleaning
from weather_platform.resources.lake import LakeResource
from weather_platform.settings import load_settings
from weather_platform.sources.csv_files import CsvSource
from weather_platform_tests.databases import migrated
from weather_platform_tests.processed.rows import CATALOGUE, PROJECT, Cleaned, cleaning, raw

BLOCKING = ("rows_add_up", "one_row_per_station_and_day", "days_in_partition")
WARNING = ("quarantined_share", "faulty_cells_share")


class Home:
    """A lake with raw months, and one Dagster instance that makes and checks years of it."""

    def __init__(self, folder: Path) -> None:
        self.settings = load_settings(home=folder)
        self.lake = Lake(str(folder / "lake"))
        self.lake.replace_table("stations", CATALOGUE)
        self.instance = dg.DagsterInstance.ephemeral()
        self.processed = processed_assets(self.settings, year_partitions(self.settings))
        self.features = features_asset(year_partitions(self.settings))
        self.upstream = [
            dg.AssetSpec("raw_observations", partitions_def=month_partitions(self.settings)),
            dg.AssetSpec("stations").with_io_manager_key("lake_io"),
        ]

    def receive(self, months: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
        table = raw(rows)
        for month in months:
            mine = table.filter(pa.array([value == month for value in table["month"].to_pylist()], pa.bool_()))
            self.lake.replace_partition("raw_observations", "month", month, mine)

    def run(self, first: str, last: str, selection: str = "*") -> dg.ExecuteInProcessResult:
        lake = LakeResource(uri=self.lake.uri)
        what = {
            "*": dg.AssetSelection.assets("observations", "quarantined_observations"),
            "features": dg.AssetSelection.assets("observations", "quarantined_observations", "features"),
            "checks": dg.AssetSelection.checks(*processed_checks()),
        }[selection]
        job = dg.define_asset_job("process", selection=what, partitions_def=year_partitions(self.settings))
        definitions = dg.Definitions(
            assets=[*self.upstream, self.processed, self.features],
            asset_checks=processed_checks(),
            jobs=[job],
            resources={"lake": lake, "lake_io": LakeIOManager(lake=lake)},
        )
        try:
            return definitions.resolve_job_def("process").execute_in_process(
                instance=self.instance,
                tags={
                    "dagster/asset_partition_range_start": first,
                    "dagster/asset_partition_range_end": last,
                },
                raise_on_error=selection != "checks",
            )
        except DagsterUserCodeExecutionError as error:
            raise error.user_exception from error


MONTHS = ("2014-12", "2015-01", "2015-02")
ROWS: tuple[Mapping[str, Any], ...] = (
    {"date": "2014-12-30"},
    {"date": "2014-12-31"},
    {"date": "2015-01-01"},
    {"date": "2015-01-01", "file": "b.csv", "humidity_9am_pct": "900"},
    {"date": "2015-01-02", "station": "Atlantis"},
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dg.ExecuteInProcessResult]:
    home = Home(tmp_path_factory.mktemp("home"))
    home.receive(MONTHS, ROWS)
    return home, home.run("2014", "2015")


def _told(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], Mapping[str, Any]]:
    stored = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {(made.asset_key.to_user_string(), str(made.partition)): made.metadata for made in stored}


def test_both_tables_of_every_year_are_stored(made: tuple[Home, dg.ExecuteInProcessResult]) -> None:
    lake = made[0].lake
    assert lake.row_counts("observations", "year") == {"2014": 2, "2015": 1}
    assert lake.row_counts("quarantined_observations", "year") == {"2014": 0, "2015": 2}
    assert lake.snapshot("observations").schema.names == OBSERVATIONS_SCHEMA.names
    assert list((made[0].settings.home / "scratch").iterdir()) == []


def test_every_year_tells_its_own_counts(made: tuple[Home, dg.ExecuteInProcessResult]) -> None:
    told = _told(made[1])
    assert set(told) == {
        (table, year) for table in ("observations", "quarantined_observations") for year in ("2014", "2015")
    }
    clean, rejected = told["observations", "2015"], told["quarantined_observations", "2015"]
    assert [clean[name].value for name in ("rows", "raw_rows", "clean_rows", "quarantined_rows")] == [
        1,
        3,
        1,
        2,
    ]
    assert clean["cells_made_missing"].value == 1
    assert clean["cells_made_missing_by_column"].value == {"humidity_9am_pct": 1}
    assert rejected["quarantined_by_rule"].value == {"duplicate": 1, "unknown_station": 1}
    assert told["observations", "2014"]["cells_made_missing_by_column"].value == {}
    assert {metadata["lake_version"].value for metadata in told.values()} == {1}  # small years share a commit


def test_checks_pass_and_warn_on_the_years_of_the_run(made: tuple[Home, dg.ExecuteInProcessResult]) -> None:
    made[0].run("2014", "2015")  # the rows of a year made twice are the same
    evaluations = {each.check_name: each for each in made[1].get_asset_check_evaluations()}
    assert set(evaluations) == {*BLOCKING, *WARNING}
    assert all(evaluations[name].passed for name in BLOCKING)
    share, faulty = evaluations["quarantined_share"], evaluations["faulty_cells_share"]
    assert not share.passed
    assert share.severity == dg.AssetCheckSeverity.WARN
    assert set(share.metadata["failing_partitions"].value) == {"2015"}  # type: ignore[arg-type]
    assert not faulty.passed  # 1 of 20 cells
    assert set(faulty.metadata["failing_partitions"].value) == {"2015"}  # type: ignore[arg-type]


def _observation(year: str, day: date, station: str = "Albury") -> dict[str, Any]:
    return {"year": year, "station": station, "day": day, "source": "csv", "file": "a.csv", "row_number": 1}


@pytest.mark.parametrize(
    ("name", "poison"),
    [
        ("rows_add_up", [_observation("2014", date(2014, 12, 31))]),
        ("one_row_per_station_and_day", [_observation("2014", date(2014, 12, 31))] * 2),
        (
            "days_in_partition",
            [_observation("2014", date(year, 1, 1)) for year in (2014, 2015)],
        ),
    ],
)
def test_a_poisoned_year_fails_its_check_and_is_named(tmp_path: Path, name: str, poison: list[dict[str, Any]]) -> None:
    home = Home(tmp_path)
    home.receive(MONTHS, ROWS[:3])
    nothing = pa.table({"year": pa.array([], pa.string())})
    for year, rows in (("2014", poison), ("2015", [_observation("2015", date(2015, 1, 1))])):
        table = pa.Table.from_pylist(rows, schema=OBSERVATIONS_SCHEMA)
        home.lake.replace_partition("observations", "year", year, table)
        home.lake.replace_partition("quarantined_observations", "year", year, nothing)
    evaluations = {each.check_name: each for each in home.run("2014", "2015", "checks").get_asset_check_evaluations()}
    assert {check for check in BLOCKING if not evaluations[check].passed} == {name}
    assert evaluations[name].blocking
    assert evaluations[name].severity == dg.AssetCheckSeverity.ERROR
    assert set(evaluations[name].metadata["failing_partitions"].value) == {"2014"}  # type: ignore[arg-type]
    assert evaluations["quarantined_share"].passed
    # No materialisation says how many cells were made missing, and nobody knowing is not none.
    faulty = evaluations["faulty_cells_share"]
    assert (faulty.passed, faulty.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert set(faulty.metadata["failing_partitions"].value) == {"2014", "2015"}  # type: ignore[arg-type]
    assert "not known" in str(faulty.description)


def test_a_year_whose_months_have_a_hole_is_not_made(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.receive(("2014-12", "2015-02"), [{"date": "2014-12-30"}, {"date": "2015-02-01"}])
    with pytest.raises(PartitionMissingError, match="asset 'raw_observations' lacks partition 2015-01"):
        home.run("2015", "2015")


@pytest.mark.parametrize(
    ("first", "last", "kept"), [("2007", "2016", {"2015"}), ("2007", "2008", set()), ("2016", "2016", set())]
)
def test_years_around_the_raw_months_are_passed_over_and_the_checks_pass(
    tmp_path: Path, first: str, last: str, kept: set[str]
) -> None:
    home = Home(tmp_path)
    home.receive(("2015-01", "2015-02"), [{"date": "2015-01-30"}, {"date": "2015-02-01"}])
    result = home.run(first, last)
    for table in ("observations", "quarantined_observations"):
        told = {
            str(each.partition): each.metadata
            for each in result.asset_materializations_for_node("clean_observations")
            if each.asset_key == dg.AssetKey(table)
        }
        assert {year for year, metadata in told.items() if "reason" not in metadata} == kept
        for year in told.keys() - kept:
            said = f"{year} is passed over: raw_observations holds 2015-01 to 2015-02"
            assert str(told[year]["reason"].value) == said
            assert "rows" not in told[year]
        assert set(home.lake.row_counts(table, "year")) == kept
    checked = home.run(first, last, "checks")
    assert [each.check_name for each in checked.get_asset_check_evaluations() if not each.passed] == []


def test_rows_that_got_lost_stop_the_publication(tmp_path: Path) -> None:
    rows = raw(ROWS)
    with cleaning(tmp_path).cleaned(rows.to_reader(), CATALOGUE) as cleaned:
        refuse_lost_rows(cleaned, {"2014": 2, "2015": 3})
        with pytest.raises(InvariantError, match="2015: 4 raw rows became 1 clean and 2 rejected ones"):
            refuse_lost_rows(cleaned, {"2014": 2, "2015": 4})
        with pytest.raises(InvariantError, match="rows of 2015, which were not asked for"):
            refuse_lost_rows(cleaned, {"2014": 2})


class Forgetful(DbtCleaning):
    """A cleaning that loses a clean row of every year."""

    @contextmanager
    def cleaned(self, raw: pa.RecordBatchReader, stations: pa.Table) -> Iterator[CleanedYears]:
        with super().cleaned(raw, stations) as years:
            years.clean_rows = {year: rows - 1 for year, rows in years.clean_rows.items()}
            yield years


def test_years_that_lost_a_row_are_not_published(made: tuple[Home, dg.ExecuteInProcessResult], tmp_path: Path) -> None:
    lake = made[0].lake
    forgetful = Forgetful(PROJECT, first_month="2007-11", timezone="Australia/Sydney", scratch_home=tmp_path)
    before = [lake.version(table) for table in ("observations", "quarantined_observations")]
    months = TablePartitions.of(lake, "raw_observations", MONTHS)
    with pytest.raises(InvariantError, match="2014: 2 raw rows became 1 clean and 0 rejected ones; not published"):
        list(publish_years(forgetful, lake, months, CATALOGUE, ["2014", "2015"]))
    assert [lake.version(table) for table in ("observations", "quarantined_observations")] == before


def test_years_cleaned_in_batches_are_the_same_as_years_cleaned_together(tmp_path: Path) -> None:
    made = {}
    for name, budget in (("together", 1_000), ("apart", 1)):
        home = Home(tmp_path / name)
        home.receive(MONTHS, ROWS)
        months = TablePartitions.of(home.lake, "raw_observations", MONTHS)
        published = list(
            publish_years(cleaning(tmp_path / "s"), home.lake, months, CATALOGUE, ["2014", "2015"], budget)
        )
        assert [each.year for each in published] == ["2014", "2015"]
        made[name] = home.lake.read("observations")
    assert made["together"].equals(made["apart"])


OLD_ROWS: tuple[Mapping[str, Any], ...] = (
    # Two stations on days of their own: what one reports is no neighbour's value in the rows of the other.
    *({"station": "Cobar", "date": f"2015-12-{day}"} for day in (13, 14, 15)),
    *({"station": "Albury", "date": f"2015-12-{day}", "evaporation_mm": "NA"} for day in (29, 30, 31)),
)
NEW_ROWS: tuple[Mapping[str, Any], ...] = (
    {"station": "Cobar", "date": "2015-12-16", "rainfall_mm": "1.0", "max_temp_c": "24.5"},
    {"station": "Albury", "date": "2016-01-01", "rainfall_mm": "1.2", "rain_today": "Yes", "max_temp_c": "31.5"},
)
LABELS = ("label_rain_tomorrow", "label_max_temp_tomorrow")


class Days:
    """The features before and after the next day of two stations arrived, each row by its station and day."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        home.receive(("2015-12",), OLD_ROWS)
        home.run("2015", "2015", "features")
        self.before = self._rows(home)
        home.receive(("2015-12", "2016-01"), OLD_ROWS + NEW_ROWS)
        self.told = _told(home.run("2015", "2016", "features"))
        self.after = self._rows(home)

    @staticmethod
    def _rows(home: Home) -> dict[tuple[str, date], dict[str, Any]]:
        return {(row["station"], row["day"]): row for row in home.lake.read("features").to_pylist()}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    return Days(tmp_path_factory.mktemp("home"))


def test_the_label_of_a_day_appears_when_its_next_day_arrives_and_no_other_cell_changes(days: Days) -> None:
    old = {(row["station"], date.fromisoformat(row["date"])) for row in OLD_ROWS}
    new = {(row["station"], date.fromisoformat(row["date"])) for row in NEW_ROWS}
    assert set(days.before) == old
    assert set(days.after) == old | new
    changes = {
        (*key, column): (value, days.after[key][column])
        for key, row in days.before.items()
        for column, value in row.items()
        if value != days.after[key][column]
    }
    rain, warmth = LABELS
    assert changes == {
        ("Cobar", date(2015, 12, 15), rain): (None, 0.0),
        ("Cobar", date(2015, 12, 15), warmth): (None, 24.5),
        ("Albury", date(2015, 12, 31), rain): (None, 1.0),  # of the next year's first day
        ("Albury", date(2015, 12, 31), warmth): (None, 31.5),
    }
    # The newest day of a station waits for the next one, and every other had its label before.
    assert {key for key, row in days.after.items() if row[rain] is None or row[warmth] is None} == new
    assert days.after["Albury", date(2016, 1, 1)]["year"] == "2016"


def test_a_year_of_features_tells_the_share_of_missing_values_of_every_column(days: Days) -> None:
    for year, rows in (("2015", 7), ("2016", 1)):
        mine = [row for row in days.after.values() if row["year"] == year]
        assert len(mine) == rows
        shares = days.told["features", year]["missing_share"].value
        assert shares == {name: sum(row[name] is None for row in mine) / rows for name in feature_names()}
        assert (shares["max_temp_c"], shares["cloud_3pm_oktas"]) == (0.0, 1.0)
        # Albury's three rows of 2015; and what has no day before it, the first row of each station in 2015.
        assert shares["evaporation_mm"] == (3 / 7 if year == "2015" else 0.0)
        assert shares["yesterday_max_temp_c"] == (2 / 7 if year == "2015" else 0.0)


DATA = PROJECT.parents[1] / "shared/data/weatherAUS_2007_2015.csv.gz"


@pytest.mark.skipif(not DATA.exists(), reason="the shared real table is not beside the checkout")
def test_the_real_table_is_clean_throughout(tmp_path: Path) -> None:
    fetched_at = datetime(2016, 1, 2, tzinfo=ZoneInfo("Australia/Sydney"))
    source = CsvSource(DATA, first_month="2007-11", fetched_at=fetched_at)
    months = [
        f"{year}-{month:02}" for year in range(2007, 2016) for month in range(1, 13) if (year, month) > (2007, 10)
    ]
    cleaned = Cleaned(cleaning(tmp_path), pa.concat_tables(source.rows(month) for month in months))
    source.close()
    assert sum(cleaned.clean_rows.values()) == 116_219
    assert cleaned.quarantined_rows == {}
    assert cleaned.cell_faults == {}


def test_many_rejected_rows_are_a_notice_until_the_year_is_clean(tmp_path: Path) -> None:
    home = Home(tmp_path)
    database = migrated(tmp_path / "weather.db")

    def notices() -> list[tuple[str, tuple[str, ...]]]:
        newest = home.instance.fetch_run_status_changes(dg.DagsterEventType.RUN_SUCCESS, limit=1).records[0]
        note_run(home.instance, database, home.settings, newest)
        with database.outbox(writing=False) as outbox:
            return [(each.kind.value, each.items) for each in outbox.notices(open_only=True)]

    home.receive(MONTHS, ROWS)
    home.run("2014", "2014")
    assert notices() == []
    home.run("2014", "2015")
    assert notices() == [("quarantine_high", ("2015",))]
    home.run("2014", "2014")
    assert notices() == [("quarantine_high", ("2015",))], "another year says nothing about this one"
    home.receive(MONTHS, ROWS[:3])
    home.run("2015", "2015")
    assert notices() == []
    database.close()
