"""The IO manager of the lake under a real Dagster: time windows, ranges in one run, missing partitions."""

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from dagster._core.errors import DagsterUserCodeExecutionError

from weather_platform.errors import InvariantError, PartitionMissingError
from weather_platform.io_managers.lake import LakeIOManager, column_schema, missing_partitions
from weather_platform.lake import ComputedPartitions, CoveredPartitions, Lake, Snapshot, TablePartitions
from weather_platform.lake.tables import COMMIT_ROWS
from weather_platform.resources.lake import LakeResource

MONTHS = dg.TimeWindowPartitionsDefinition(
    cron_schedule="0 0 1 * *", fmt="%Y-%m", start="2007-11", timezone="Australia/Sydney", end_offset=1
)
YEARS = dg.TimeWindowPartitionsDefinition(
    cron_schedule="0 0 1 1 *", fmt="%Y", start="2007", timezone="Australia/Sydney", end_offset=1
)
DAYS = dg.TimeWindowPartitionsDefinition(
    cron_schedule="0 0 * * *", fmt="%Y-%m-%d", start="2007-11-01", timezone="Australia/Sydney", end_offset=1
)
SINGLE_RUN = dg.BackfillPolicy.single_run()
IN_YEAR = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
AROUND = dg.TimeWindowPartitionMapping(start_offset=-1, end_offset=1, allow_nonexistent_upstream_partitions=True)
UP_TO = dg.TimeWindowPartitionMapping(start_offset=-50, allow_nonexistent_upstream_partitions=True)
seen: dict[str, Any] = {}


def _month(key: str) -> pa.Table:
    """Two rows, none in the quiet month."""
    count = 0 if key == "2008-02" else 2
    return pa.table({"month": pa.array([key] * count, pa.string()), "value": pa.array(range(count), pa.int64())})


@dg.asset(io_manager_key="lake_io")
def places() -> pa.Table:
    return pa.table({"id": ["Albury", "Cobar"]})


@dg.asset(partitions_def=MONTHS, backfill_policy=SINGLE_RUN, io_manager_key="lake_io")
def raw(context: dg.AssetExecutionContext) -> ComputedPartitions:
    return ComputedPartitions(context.partition_keys, _month)


@dg.asset(
    partitions_def=YEARS,
    backfill_policy=SINGLE_RUN,
    io_manager_key="lake_io",
    ins={"raw": dg.AssetIn(partition_mapping=IN_YEAR)},
)
def clean(context: dg.AssetExecutionContext, raw: TablePartitions, places: pa.Table) -> ComputedPartitions:
    seen["clean"], seen["places"] = list(raw), places

    def year(key: str) -> pa.Table:
        rows = sum(raw[month].num_rows for month in raw if month.startswith(key))
        return pa.table({"year": [key], "rows": [rows]})

    return ComputedPartitions(context.partition_keys, year)


@dg.asset(
    partitions_def=YEARS,
    backfill_policy=SINGLE_RUN,
    io_manager_key="lake_io",
    ins={"clean": dg.AssetIn(partition_mapping=AROUND)},
)
def derived(context: dg.AssetExecutionContext, clean: TablePartitions) -> ComputedPartitions:
    seen["derived"] = list(clean)
    return ComputedPartitions(context.partition_keys, lambda key: pa.table({"year": [key]}))


@dg.asset(
    partitions_def=YEARS,
    backfill_policy=SINGLE_RUN,
    io_manager_key="lake_io",
    ins={"clean": dg.AssetIn(partition_mapping=UP_TO)},
)
def model(context: dg.AssetExecutionContext, clean: pa.Table) -> ComputedPartitions:
    seen["model"] = clean["year"].to_pylist()
    return ComputedPartitions(context.partition_keys, lambda key: pa.table({"year": [key]}))


@dg.asset(partitions_def=DAYS, backfill_policy=SINGLE_RUN, io_manager_key="lake_io", ins={"clean": dg.AssetIn()})
def daily(context: dg.AssetExecutionContext, clean: CoveredPartitions) -> ComputedPartitions:
    seen["daily"] = clean.passed_over(context.partition_keys)
    return ComputedPartitions(context.partition_keys, lambda key: pa.table({"day": [key]}), passed_over=seen["daily"])


ASSETS = [places, raw, clean, derived, model, daily]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(autouse=True)
def _forget() -> None:
    seen.clear()


def _make(
    lake: Lake, asset: dg.AssetsDefinition, first: str | None = None, last: str | None = None
) -> dg.ExecuteInProcessResult:
    """One run of one asset over a range, as a single-run backfill starts it."""
    tags = {}
    if first is not None:
        tags = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last or first,
        }
    known = {definition.key: definition for definition in ASSETS} | {asset.key: asset}
    try:
        return dg.materialize(
            list(known.values()),
            selection=[asset],
            tags=tags,
            instance=dg.DagsterInstance.ephemeral(),
            resources={"lake_io": LakeIOManager(lake=LakeResource(uri=lake.uri))},
        )
    except DagsterUserCodeExecutionError as error:
        raise error.user_exception from error


def _metadata(result: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition) -> dict[str, Mapping[str, Any]]:
    stored = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    return {made.partition or "": made.metadata for made in stored if made.asset_key == asset.key}


def test_a_range_in_one_run_stores_every_partition_with_its_own_metadata(lake: Lake) -> None:
    result = _make(lake, raw, "2007-11", "2008-03")
    told = _metadata(result, raw)
    assert sorted(told) == ["2007-11", "2007-12", "2008-01", "2008-02", "2008-03"]
    assert [told[key]["rows"].value for key in sorted(told)] == [2, 2, 2, 0, 2]
    assert [told[key]["lake_version"].value for key in sorted(told)] == [1] * 5
    assert told["2008-02"]["dagster/partition_row_count"].value == 0
    assert [key for key in told if "dagster/column_schema" in told[key]] == ["2008-03"]
    assert [column.name for column in told["2008-03"]["dagster/column_schema"].value.columns] == ["month", "value"]
    assert lake.row_counts("raw", "month")["2008-02"] == 0


def test_an_unpartitioned_asset_is_one_table_with_its_row_count(lake: Lake) -> None:
    told = _metadata(_make(lake, places), places)[""]
    assert (told["rows"].value, told["dagster/row_count"].value, told["lake_version"].value) == (2, 2, 1)
    assert lake.read("places")["id"].to_pylist() == ["Albury", "Cobar"]


def test_an_unpartitioned_input_can_be_taken_as_a_snapshot_that_knows_its_version(lake: Lake) -> None:
    @dg.asset(io_manager_key="lake_io")
    def census(places: Snapshot) -> pa.Table:
        return pa.table({"version": [places.version], "rows": [places.read().num_rows]})

    _make(lake, places)
    assert _make(lake, census).success
    assert lake.read("census").to_pylist() == [{"version": 1, "rows": 2}]


def test_a_single_partition_may_be_given_as_one_table(lake: Lake) -> None:
    @dg.asset(partitions_def=MONTHS, backfill_policy=SINGLE_RUN, io_manager_key="lake_io")
    def one(context: dg.AssetExecutionContext) -> pa.Table:
        return _month(context.partition_keys[0])

    assert _make(lake, one, "2008-01").success
    assert lake.partitions("one", "month") == {"2008-01"}
    with pytest.raises(InvariantError, match="one table for 2 partitions"):
        _make(lake, one, "2008-01", "2008-02")


def test_an_asset_that_gives_other_partitions_than_asked_stores_none(lake: Lake) -> None:
    @dg.asset(partitions_def=MONTHS, backfill_policy=SINGLE_RUN, io_manager_key="lake_io")
    def astray() -> ComputedPartitions:
        return ComputedPartitions(["2009-01"], _month)

    with pytest.raises(InvariantError, match=r"gave partitions \['2009-01'\]"):
        _make(lake, astray, "2008-01", "2008-02")
    assert not lake.exists("astray")


@pytest.mark.parametrize(("rows", "held"), [(COMMIT_ROWS, [0, 0, 0, 0]), (COMMIT_ROWS // 2, [0, 1, 0, 1])])
def test_a_range_holds_one_partition_or_small_ones_for_a_commit(lake: Lake, rows: int, held: list[int]) -> None:
    @dg.asset(partitions_def=MONTHS, backfill_policy=SINGLE_RUN, io_manager_key="lake_io")
    def counted(context: dg.AssetExecutionContext) -> ComputedPartitions:
        def compute(key: str) -> pa.Table:
            alive.append(sum(made() is not None for made in given))
            table = pa.table({"month": pa.repeat(pa.scalar(key), rows), "value": pa.nulls(rows, pa.int64())})
            given.append(weakref.ref(table))
            return table

        return ComputedPartitions(context.partition_keys, compute)

    given: list[weakref.ref[pa.Table]] = []
    alive: list[int] = []
    _make(lake, counted, "2008-01", "2008-04")
    assert all(now <= most for now, most in zip(alive, held, strict=True))


def test_an_asset_with_a_path_as_key_is_stored_under_its_joined_name(lake: Lake) -> None:
    @dg.asset(key=["rain_tomorrow", "split"], io_manager_key="lake_io")
    def split() -> pa.Table:
        return pa.table({"part": ["test"]})

    _make(lake, split)
    assert lake.read("rain_tomorrow__split").num_rows == 1


def test_a_year_is_made_from_the_months_between_the_first_and_the_last_one_present(lake: Lake) -> None:
    _make(lake, places)
    _make(lake, raw, "2007-12", "2008-05")
    _make(lake, clean, "2007", "2008")
    assert seen["clean"] == ["2007-12", "2008-01", "2008-02", "2008-03", "2008-04", "2008-05"]
    assert seen["places"].num_rows == 2
    assert lake.read("clean").to_pylist() == [{"year": "2007", "rows": 2}, {"year": "2008", "rows": 8}]


def test_a_forgotten_month_is_named_with_the_remedy(lake: Lake) -> None:
    _make(lake, places)
    _make(lake, raw, "2008-01", "2008-03")
    _make(lake, raw, "2008-06", "2008-07")
    with pytest.raises(PartitionMissingError, match="asset 'raw' lacks partitions 2008-04, 2008-05; materialise them"):
        _make(lake, clean, "2008")


def test_a_year_without_any_month_cannot_be_made(lake: Lake) -> None:
    _make(lake, places)
    _make(lake, raw, "2008-01", "2008-12")
    with pytest.raises(PartitionMissingError, match="lacks partitions 2009-01, 2009-02"):
        _make(lake, clean, "2008", "2009")


def test_an_upstream_that_was_never_made_is_named(lake: Lake) -> None:
    with pytest.raises(PartitionMissingError, match="asset 'clean' was never materialised; materialise it first"):
        _make(lake, derived, "2008")


def _years(lake: Lake, *years: str) -> None:
    for year in years:
        lake.replace_partition("clean", "year", year, pa.table({"year": [year], "rows": [1]}))


def test_the_years_around_may_be_absent_at_the_ends(lake: Lake) -> None:
    _years(lake, "2008", "2009")
    _make(lake, derived, "2008")
    assert seen["derived"] == ["2008", "2009"]
    _make(lake, derived, "2009")
    assert seen["derived"] == ["2008", "2009"]


def test_a_year_beside_the_data_is_made_because_a_backfill_of_what_is_downstream_asks_for_it(lake: Lake) -> None:
    _years(lake, "2008", "2009")
    _make(lake, derived, "2007", "2010")
    assert seen["derived"] == ["2008", "2009"]
    _make(lake, derived, "2010")
    assert seen["derived"] == ["2009"]
    _make(lake, model, "2012")
    assert seen["model"] == ["2008", "2009"]


def test_a_year_that_reaches_no_data_cannot_be_made(lake: Lake) -> None:
    _years(lake, "2008", "2009")
    with pytest.raises(PartitionMissingError, match="2011; it holds 2008 to 2009: choose partitions inside, or"):
        _make(lake, derived, "2011")
    with pytest.raises(PartitionMissingError, match="lacks partition 2007"):
        _make(lake, model, "2007")  # nothing after it counts for "all years up to"


def test_an_asset_that_passes_over_what_is_outside_gets_the_reasons_and_stores_only_the_rest(lake: Lake) -> None:
    _years(lake, "2008", "2009")
    assert _make(lake, daily, "2007-12-30", "2008-01-02").success
    said = "is passed over: clean holds 2008 to 2009"
    assert seen["daily"] == {day: f"{day} {said}" for day in ("2007-12-30", "2007-12-31")}
    assert set(lake.row_counts("daily", "day")) == {"2008-01-01", "2008-01-02"}
    _make(lake, daily, "2010-01-01")
    assert list(seen["daily"]) == ["2010-01-01"]
    assert set(lake.row_counts("daily", "day")) == {"2008-01-01", "2008-01-02"}


def test_a_hole_and_an_empty_upstream_are_errors_for_it_too(lake: Lake) -> None:
    with pytest.raises(PartitionMissingError, match="was never materialised"):
        _make(lake, daily, "2007-12-30")
    _years(lake, "2008", "2010")
    with pytest.raises(PartitionMissingError, match="lacks partition 2009; materialise it first"):
        _make(lake, daily, "2009-06-01")
    with pytest.raises(PartitionMissingError, match="lacks partition 2009; materialise it first"):
        _make(lake, daily, "2008-12-31", "2010-01-01")


def test_a_hole_among_the_years_around_is_an_error(lake: Lake) -> None:
    _years(lake, "2008", "2010")
    with pytest.raises(PartitionMissingError, match="lacks partition 2009"):
        _make(lake, derived, "2008")


def test_all_years_up_to_one_are_read_in_order_and_a_hole_is_an_error(lake: Lake) -> None:
    _years(lake, "2010", "2008", "2009")
    _make(lake, model, "2009")
    assert seen["model"] == ["2008", "2009"]
    _years(lake, "2012")
    with pytest.raises(PartitionMissingError, match="lacks partition 2011"):
        _make(lake, model, "2012")


def test_the_current_month_and_year_exist(lake: Lake) -> None:
    month, year = MONTHS.get_last_partition_key(), YEARS.get_last_partition_key()
    assert month is not None
    assert year is not None
    assert month.startswith(year)
    _make(lake, places)
    _make(lake, raw, month)
    assert _make(lake, clean, year).success
    assert _make(lake, derived, year).success


@pytest.mark.parametrize(
    ("needed", "present", "own", "reaches", "missing"),
    [
        (["2008"], [], [], False, ["2008"]),
        (["2007", "2008", "2009"], ["2008"], [["2008"]], True, []),
        (["2007", "2008", "2009"], ["2007", "2009"], [["2008"]], True, ["2008"]),
        (["2007", "2008", "2009"], ["2007", "2009"], [], False, ["2008"]),
        (["2007"], ["2008"], [["2007"]], True, ["2007"]),
        (["2007", "2008"], ["2008"], [["2007"]], True, []),
        (["2007", "2008"], ["2008"], [["2007"]], False, ["2007"]),
        (["2008", "2009"], ["2008"], [["2009"]], True, []),
        (["2008", "2009"], ["2008"], [["2008"], ["2009"]], False, ["2009"]),
        (["2009", "2010"], ["2008"], [["2009"]], True, ["2009"]),
        (["2008-01", "2008-02"], ["2008-02"], [["2008-01", "2008-02"]], False, []),
        ([], ["2008"], [], False, []),
    ],
)
def test_what_may_be_absent_is_one_rule(
    needed: list[str], present: list[str], own: list[list[str]], reaches: bool, missing: list[str]
) -> None:
    assert missing_partitions(needed, present, own, reaches=reaches) == missing


def test_columns_are_described_from_the_contract_or_from_the_fields() -> None:
    schema = pa.schema(
        [
            pa.field("year", pa.string(), nullable=False),
            pa.field("rainfall_mm", pa.float64()),
            pa.field("rain_3d", pa.float32(), metadata={"description": "Rain of three days", "unit": "mm"}),
        ]
    )
    year, rain, sum_of_rain = column_schema(schema).columns
    assert year.description == "Partition, YYYY"
    assert not year.constraints.nullable
    assert rain.description == "Rainfall in the 24 hours to 9 am [mm]"
    assert sum_of_rain.description == "Rain of three days [mm]"
