"""The drift asset on a home made by the real command: months with, without and beyond data, and what goes wrong."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.build import build_definitions
from weather_platform.cli.runs import failure_of
from weather_platform.domain.departures import RADIUS_KM
from weather_platform.domain.feature_table import station_grid
from weather_platform.domain.features import OWN_DAY
from weather_platform.domain.neighbours import stations_within
from weather_platform.domain.targets import TARGETS
from weather_platform.resources.mlflow_client import mlflow_client
from weather_platform.resources.reports import ReportStore
from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.small_models import TARGET
from weather_platform_tests.stages import RANGE_END, RANGE_START

QUIET, QUARTER, ALL, BEYOND = "2015-04", "2015-05", "2015-06", "2015-07"


def watch(home: MadeHome, first: str, last: str | None = None) -> tuple[str, dg.ExecuteInProcessResult]:
    """Run the job over these months; the line of failure, or nothing."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.from_config(str(home.folder / "dagster")) as instance:
        result = build_definitions(home.settings).resolve_job_def("watch").execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey("drift_report")],
            run_config=quiet,
            tags={RANGE_START: first, RANGE_END: last or first},
            raise_on_error=False,
        )  # fmt: skip
        return "" if result.success else failure_of(result, result.run_id), result


def change_month(home: MadeHome, month: str, columns: list[str], change: Callable[[Any], Any]) -> None:
    """Change stored features of one month, as an instrument that went wrong everywhere would."""
    table = home.lake.snapshot("features").read(keys=["2015"])
    here = pc.equal(pc.strftime(table["day"], "%Y-%m"), month)
    for name in columns:
        at = table.schema.get_field_index(name)
        changed = pc.if_else(here, pc.cast(change(table[name]), pa.float32()), table[name])
        table = table.set_column(at, table.schema.field(at), changed)
    home.lake.replace_partition("features", "year", "2015", table)


def test_a_station_whose_sensor_is_wrong_is_named_first(home: MadeHome) -> None:
    """Temperatures of the station with most neighbours, 12 degrees too high in the stored features."""
    grid = station_grid(home.lake.read("stations"))
    around = stations_within(grid, RADIUS_KM, 16).toarray().sum(axis=1)
    station = grid.ids[int(around.argmax())]
    table = home.lake.snapshot("features").read(keys=["2015"])
    verdicts = []
    for added in (0.0, 12.0):
        here = pc.and_(pc.equal(table["station"], station), pc.equal(pc.strftime(table["day"], "%Y-%m"), QUIET))
        at = table.schema.get_field_index("temp_3pm_c")
        changed = pc.if_else(here, pc.cast(pc.add(table["temp_3pm_c"], added), pa.float32()), table["temp_3pm_c"])
        home.lake.replace_partition("features", "year", "2015", table.set_column(at, table.schema.field(at), changed))
        failure, result = watch(home, QUIET)
        assert failure == ""
        record = home.database.drift([QUIET])[QUIET]
        assert record.departures is not None
        verdicts.append(record.departures)
        assert told(result)[QUIET]["departing_stations"] == record.departures.columns_of()
        values = json.loads(ReportStore.from_settings(home.settings).read(record.values_path))
        assert values["departures"] == record.departures.to_dict()
    before, after = verdicts
    assert station not in before.columns_of()
    assert (after.status, after.departures[0].station, after.departures[0].column) == (
        "departs", station, "temp_3pm_c",
    )  # fmt: skip
    assert {column for columns in after.columns_of().values() for column in columns} == {"temp_3pm_c"}


def told(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """The metadata of each month."""
    return {
        str(event.partition): {name: value.value for name, value in event.materialization.metadata.items()}
        for event in result.get_asset_materialization_events()
    }


def test_injected_drift_of_none_a_quarter_and_all_columns_gives_those_shares(home: MadeHome) -> None:
    names = [feature.name for feature in OWN_DAY]
    gone, kept = names[-3:], names[:-3]  # twenty columns are left, and a quarter of them is five
    for month in (QUARTER, ALL):
        change_month(home, month, gone, lambda values: pc.if_else(True, None, values))
    change_month(home, QUARTER, kept[:5], lambda values: pc.add(values, 400.0))
    change_month(home, ALL, kept, lambda values: pc.add(values, 400.0))
    failure, result = watch(home, QUIET, BEYOND)
    assert failure == ""
    records = home.database.drift()
    shares = {month: record.verdict.share for month, record in records.items()}
    assert shares == {QUIET: 0.0, QUARTER: 0.25, ALL: 1.0, BEYOND: None}
    observed = {c.name for c in records[QUARTER].verdict.columns if c.kind == "observation" and c.status == "drift"}
    assert observed == set(kept[:5])
    assert [record.verdict.status for record in records.values()] == ["none", "drift", "drift", "unknown"]
    assert set(gone) <= set(records[ALL].verdict.named("missing"))

    # The month that no row reached yet is unknown, and its report says so.
    assert records[BEYOND].verdict.reasons == ("no station reported in this month",)

    # What the database says is what is stored, and what Dagster shows.
    store = ReportStore.from_settings(home.settings)
    for month, record in records.items():
        assert json.loads(store.read(record.values_path))["verdict"] == record.verdict.to_dict()
        assert month in store.read(record.page_path).decode()
        shown = told(result)[month]
        assert (shown["status"], shown.get("share")) == (record.verdict.status, record.verdict.share)
        assert ("columns" in shown) == (month != BEYOND)
        assert shown["report"] == store.address(record.page_path)

    # Each target is watched: its Production model judges both sides, and what is known of its labels is compared.
    kinds = {column.name: column for column in records[QUIET].verdict.columns}
    production = {name: home.registry.production(name) for name in TARGETS}
    for name, model in production.items():
        assert kinds[f"{name}/prediction"].distance is not None
        assert kinds[f"{name}/label"].distance is not None
        assert records[QUIET].models[name] == {"version": model.version, "sha256": model.digest}
    through = min(model.tuned_through for model in production.values())
    assert records[QUIET].verdict.learned_through == through.isoformat()
    assert all(date.fromisoformat(f"{month}-01") < through for month in records[ALL].verdict.reference_months)


def test_months_of_years_without_features_are_unknown_with_a_reason(home: MadeHome) -> None:
    for first, last in (("2007-11", "2007-12"), ("2016-01", "2016-02")):
        failure, _ = watch(home, first, last)
        assert failure == ""
        for record in home.database.drift((first, last)).values():
            assert record.verdict.status == "unknown"
            assert record.verdict.reasons == ("no station reported in this month",)


def test_without_a_production_model_the_remedy_is_told_and_the_former_report_stays(home: MadeHome) -> None:
    assert watch(home, BEYOND)[0] == ""
    before = home.database.drift()
    mlflow_client(mlflow_tracking_uri(home.settings)).delete_registered_model_alias(TARGET, "Production")
    said = watch(home, BEYOND)[0]
    assert "rain_tomorrow has no Production model; materialise rain_tomorrow/production first" in said
    assert home.database.drift() == before


def test_an_outage_of_the_report_store_fails_the_run_and_leaves_the_former_report(home: MadeHome) -> None:
    assert watch(home, BEYOND)[0] == ""
    before = home.database.drift()
    folder = home.folder / "reports" / "drift_report"
    aside = folder.rename(home.folder / "aside")
    folder.write_text("in the way")
    said = watch(home, BEYOND)[0]
    assert "check that the store is there and writable" in said
    folder.unlink()
    aside.rename(folder)
    assert home.database.drift() == before
    assert ReportStore.from_settings(home.settings).read(before[BEYOND].page_path)
