"""A home in a temporary folder whose stages can be filled and run one by one: real lake, real graph, real stores."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa

from weather_platform.build import build_definitions
from weather_platform.database import FORECASTS_SCHEMA
from weather_platform.domain.observations import OBSERVATIONS_SCHEMA, RAW_SCHEMA
from weather_platform.domain.splits import manifest, plan_split
from weather_platform.domain.stations import STATIONS, station_table
from weather_platform.io_managers.mlflow_models import RUN_ID_KEY
from weather_platform.lake import Lake
from weather_platform.settings import Settings
from weather_platform_tests.small_models import TARGET, small_data

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
ONE = "dagster/partition"
MOMENT = datetime(2016, 1, 1, 20, tzinfo=UTC)


class Home:
    """Settings, lake, instance and the whole graph of one folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        quick: dict[str, Any] = {
            "threads": 1, "synthetic_stations": 4, "synthetic_years": 3, "synthetic_last_day": date(2015, 3, 31),
        }  # fmt: skip
        self.settings = Settings(home=folder, **(quick | settings))
        self.lake = Lake(str(folder / "lake"))
        self.instance = dg.DagsterInstance.ephemeral()

    @cached_property
    def graph(self) -> dg.Definitions:
        """The whole graph, as its code location would go on with it from run to run."""
        return build_definitions(self.settings)

    def run(
        self,
        selection: dg.AssetSelection,
        first: str | None = None,
        last: str | None = None,
        *,
        one: str | None = None,
        more: Iterable[dg.AssetsDefinition] = (),
        resources: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        raise_on_error: bool = False,
    ) -> dg.ExecuteInProcessResult:
        """Run a part of the graph over a range of partition keys, or for `one`; `more` assets may come after it."""
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = dg.define_asset_job("part", selection=selection, executor_def=dg.in_process_executor)
        graph = build_definitions(self.settings, resource_overrides=resources) if resources else self.graph
        definitions = dg.Definitions.merge(graph, dg.Definitions(assets=list(more), jobs=[job]))
        return definitions.resolve_job_def("part").execute_in_process(
            instance=self.instance,
            run_config=quiet | dict(config or {}),
            tags={RANGE_START: first, RANGE_END: last or first} if first else {ONE: one} if one else {},
            raise_on_error=raise_on_error,
        )

    def observe(self, year: str, days: Iterable[date], stations: Iterable[str] = ("Albury", "Sydney")) -> None:
        """Store clean rows of these days, each with a little weather; a station may be named twice."""
        names = list(stations)
        rows = [observation(year, day, station, float(n)) for day in days for n, station in enumerate(names)]
        self.lake.replace_partition(
            "observations", "year", year, pa.Table.from_pylist(rows, schema=OBSERVATIONS_SCHEMA)
        )

    def receive(self, month: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Store raw rows of a month."""
        full = [dict.fromkeys(RAW_SCHEMA.names) | {"month": month, "fetched_at": MOMENT} | dict(row) for row in rows]
        table = pa.Table.from_pylist(full, schema=RAW_SCHEMA)
        self.lake.replace_partition("raw_observations", "month", month, table)

    def know_stations(self) -> None:
        """Store the catalogue."""
        self.lake.replace_table("stations", station_table(STATIONS))

    def claim_model(self, year: str, mlflow_run_id: str, algorithm: str = "xgboost") -> None:
        """Tell Dagster that the candidate of a year was materialised as this MLflow run."""
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization([TARGET, algorithm], partition=year, metadata={RUN_ID_KEY: mlflow_run_id})
        )


def observation(year: str, day: date, station: str, shade: float = 0.0) -> dict[str, Any]:
    """One clean row."""
    return {
        "year": year, "station": station, "day": day, "source": "csv", "file": "a.csv", "row_number": 1,
        "max_temp_c": 20.0 + shade, "rainfall_mm": shade, "humidity_3pm_pct": 50.0 + shade,
        "pressure_3pm_hpa": 1010.0 - shade, "rain_today": shade > 1.0,
    }  # fmt: skip


def days_of(first: date, last: date) -> list[date]:
    """Every day from first to last."""
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def small_manifest(year: int, change: Callable[[list[dict[str, Any]]], None] | None = None) -> pa.Table:
    """The manifest of a year over the small data, with its rows changed as somebody else might have."""
    data = small_data()
    split = plan_split(year, date(2008, 1, 1), date(2017, 6, 29))
    sound = manifest(split, data.day, data.labels, classification=True, features_lake_version=3)
    rows = sound.to_pylist()
    if change is not None:
        change(rows)
    return pa.Table.from_pylist(rows, schema=sound.schema)


def forecast_table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Forecasts as the database keeps them: sound ones by default, with any cell replaced."""
    sound = {
        "target": TARGET, "station": "Albury", "day": date(2015, 6, 1), "model_version": 1, "kind": "live",
        "model_digest": "a" * 64, "feature_version": "1", "probability": 0.4, "threshold": 0.5, "label": False,
        "value": None, "value_low": None, "value_high": None,
        "issued_at": MOMENT, "dagster_run_id": "run-1",
    }  # fmt: skip
    return pa.Table.from_pylist([sound | dict(row) for row in rows], schema=FORECASTS_SCHEMA)


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What each check of a run said, by its name."""
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def failing(evaluation: dg.AssetCheckEvaluation) -> dict[str, Any]:
    """The partitions (or other names) that a check blames."""
    return dict(evaluation.metadata["failing_partitions"].value)  # type: ignore[arg-type]


def made(result: dg.ExecuteInProcessResult) -> set[str]:
    """Assets that a run materialised."""
    return {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}


def started(result: dg.ExecuteInProcessResult) -> set[str]:
    """Steps that a run began."""
    return {event.step_key for event in result.all_events if event.is_step_start and event.step_key}
