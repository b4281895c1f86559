"""Stage drift: whether the weather of a month, and what the models say of it, look like what the models learned.

The month is compared with the same calendar months of the years that every Production model has learned from, station
by station in the same proportions, by Evidently, with each method and threshold fixed. Compared are what a forecaster
sees (the station's own observations of the day), each Production model's predictions (it judges both sides) and each
target's labels as far as they are known. The status is `none`, `drift` or `unknown`: unknown when there is not enough
to compare, never none. A month that the models have learned from is compared with the other years (`hindcast`).

Each station is also compared with its neighbours, column by column: one that departs from them in the mean of a month
has a sensor to look at.

Page and values go to the report store, the verdict and each column's distance to the database.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.assets.catalogue import REPORT_IO, shared
from weather_platform.domain.departures import Neighbourhood
from weather_platform.domain.drift import ColumnKind, Watch, WatchedColumn, WatchedRows, sampled_stations
from weather_platform.domain.feature_table import label_column, station_grid, training_columns, training_data
from weather_platform.domain.features import OWN_DAY
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import Predictor
from weather_platform.evidently_report import measure, page
from weather_platform.io_managers.costs import metered
from weather_platform.io_managers.reports import DriftReport
from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions, TablePartitions
from weather_platform.lake.provenance import STATIONS_TABLE, lake_source, made_from
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import Settings


def drift_asset(settings: Settings, months: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """The asset of the stage."""

    @dg.asset(
        **shared("drift", "evidently", "sqlalchemy"),
        partitions_def=months,
        io_manager_key=REPORT_IO,
        dagster_type=dg.Any,
        ins={
            "features": dg.AssetIn(
                partition_mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True),
            )
        },
        deps=[dg.AssetKey([target, "production"]) for target in TARGETS],
        description=__doc__,
    )
    @metered
    def drift_report(
        context: dg.AssetExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        lake: LakeResource,
        features: CoveredPartitions,
    ) -> ComputedPartitions[DriftReport]:
        models = {target: registry.production(target) for target in TARGETS}
        tuned_through = {prediction_column(target): model.tuned_through for target, model in models.items()}
        rows = watched_rows(
            _years(lake, features, max(tuned_through.values())),
            {target: registry.ready(model) for target, model in models.items()},
            settings.seed,
        )
        watch = Watch(rows, min(tuned_through.values()), settings.seed, tuned_through)
        usual = watch.usual()
        grid = station_grid(lake.lake().read(STATIONS_TABLE))
        neighbourhood = Neighbourhood(rows, grid, min(tuned_through.values()))
        told = {target: {"version": model.version, "sha256": model.digest} for target, model in models.items()}
        reported_at = run_created_at(context.instance, context.run.run_id)
        source = lake_source(lake.lake()) or "unknown"

        def of_month(month: str) -> DriftReport:
            sides = watch.sides(month)
            measured = measure(sides, usual.thresholds(sides))
            verdict = watch.judge(sides, usual, measured.distances)
            context.log.info(f"{month}: {verdict.status}, {verdict.reasons[0]}")
            return DriftReport(
                verdict=verdict,
                source=source,
                models=told,
                features_lake_version=features.version,
                page=page(measured, verdict, made_from(source)),
                evidently=measured.values,
                dagster_run_id=context.run.run_id,
                reported_at=reported_at,
                departures=neighbourhood.verdict(month),
            )

        return ComputedPartitions(context.partition_keys, of_month)

    return drift_report


def watched_columns() -> tuple[WatchedColumn, ...]:
    """What is watched, in order: the own-day columns, then prediction and label of each target."""
    named: list[tuple[str, ColumnKind]] = [(feature.name, "observation") for feature in OWN_DAY]
    for target in TARGETS:
        named += [(prediction_column(target), "prediction"), (f"{target}/label", "label")]
    return tuple(WatchedColumn(name, kind) for name, kind in named)


def prediction_column(target: str) -> str:
    """The watched column of what the Production model of a target says."""
    return f"{target}/prediction"


def watched_rows(years: TablePartitions, predictors: Mapping[str, Predictor], seed: int) -> WatchedRows:
    """Everything that is watched of these years, read and predicted one year at a time."""
    stations = sampled_stations(years.select(["station"]).table()["station"].unique().to_pylist(), seed)
    asked = list(dict.fromkeys(name for target in TARGETS.values() for name in training_columns(target)))
    rows = years.select(asked).where(pc.field("station").isin(stations))
    parts = [_watched(rows[year], stations, predictors) for year in rows]
    return WatchedRows(
        stations=tuple(stations),
        station_index=np.concatenate([np.empty(0, np.int32), *(part.station_index for part in parts)]),
        day=np.concatenate([np.empty(0, np.int32), *(part.day for part in parts)]),
        columns=watched_columns(),
        values=np.concatenate([np.empty((0, len(watched_columns())), np.float32), *(part.values for part in parts)]),
    )


def _watched(table: pa.Table, stations: Sequence[str], predictors: Mapping[str, Predictor]) -> WatchedRows:
    first = next(iter(TARGETS.values()))
    data = training_data(table.to_batches(), table.num_rows, first)
    at = {name: position for position, name in enumerate(data.feature_names)}
    columns = [data.values[:, at[feature.name]] for feature in OWN_DAY]
    for name in TARGETS:
        predicted = predictors[name].predict(data.values).value.astype(np.float32)
        columns += [predicted, table[label_column(name)].to_numpy()]
    values = np.column_stack(columns)
    index = pc.index_in(table["station"], value_set=pa.array(stations, pa.string())).to_numpy().astype(np.int32)
    return WatchedRows(tuple(stations), index, data.day, watched_columns(), values)


def _years(lake: LakeResource, features: TablePartitions, learned_through: date) -> TablePartitions:
    """The years of the months and every year of the reference, in the version of the table that the input has."""
    snapshot = lake.lake().snapshot("features", features.version)
    stored = [year for year, rows in snapshot.row_counts().items() if rows]
    return TablePartitions(snapshot, [year for year in stored if year in features or int(year) <= learned_through.year])
