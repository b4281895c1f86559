"""Stage forecasts: what the Production model says of the next day, one row per station that reported.

The partition is the issue day D: the forecast is issued at the end of the station's local day D, knows everything
reported for D, and speaks of D+1. Forecasts of days inside the model's own training, validation or test span are
`hindcast` and never count as live skill; so are those that are made again, and say something else, when the next day
is observed. Rows are kept by target, station, day and model version; a day that is made again replaces those of its
version, so that a report that was taken back takes its forecast with it. A day of a year before the first features or
after the last is passed over with a reason.
"""

import math
from collections import Counter
from datetime import date, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.assets.catalogue import shared
from weather_platform.assets.passed_over import pass_over
from weather_platform.assets.splits import REASON
from weather_platform.database import FORECASTS_SCHEMA, Database
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.splits import day_number
from weather_platform.domain.targets import ForecastTarget
from weather_platform.domain.training import Predictor, TrainingData
from weather_platform.io_managers.costs import metered
from weather_platform.io_managers.lake import column_schema, read_from
from weather_platform.lake.partitions import CoveredPartitions
from weather_platform.lake.provenance import lake_source, made_from
from weather_platform.plots import StationDots, markdown_image, station_map_png
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import ModelRegistry, RegisteredModel


def forecasts_asset(target: ForecastTarget, days: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """The `{target}/forecasts` asset."""

    @dg.asset(
        key=[target.name, "forecasts"],
        **shared("forecasts", "sqlalchemy"),
        partitions_def=days,
        ins={"features": dg.AssetIn()},
        deps=[dg.AssetKey([target.name, "production"]), dg.AssetKey("stations")],
        tags={"target": target.name},
        description=f"{target.description}\n\n{__doc__}",
    )
    @metered
    def forecasts(
        context: dg.AssetExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
        features: CoveredPartitions,
    ) -> None:
        model = registry.production(target.name)
        passed_over = features.passed_over(context.partition_keys)
        pass_over(context, passed_over)
        issue_days = [date.fromisoformat(key) for key in context.partition_keys if key not in passed_over]
        if not issue_days:
            return
        predictor = registry.ready(model)
        asked = (pc.field("day") >= issue_days[0]) & (pc.field("day") <= issue_days[-1])
        table = features.select(training_columns(target)).where(asked).table()
        rows = training_data(table.to_batches(), table.num_rows, target)
        issued = forecast_rows(
            target, rows, predictor, model, context.run.run_id, run_created_at(context.instance, context.run.run_id)
        )
        span = (issue_days[0], issue_days[-1])
        before = database.forecasts(target.name, *span, model_version=model.version)
        issued = after_the_fact(issued, before, ~np.isnan(rows.labels))
        database.replace_forecasts(target.name, model.version, *span, issued, features_lake_version=features.version)
        stored_source = lake_source(lake.lake()) or "unknown"
        hindcasts = Counter(issued.filter(pc.equal(issued["kind"], "hindcast"))["day"].to_pylist())
        for day in issue_days:
            rows_of_day = int(np.count_nonzero(rows.day == day_number(day)))
            context.add_asset_metadata(
                {
                    "rows": rows_of_day,
                    "dagster/partition_row_count": rows_of_day,
                    "hindcasts": hindcasts[day],
                    "model_version": model.version,
                    "source": stored_source,
                    **read_from(features),
                    **({} if rows_of_day else {REASON: f"no station reported on {day}"}),
                },
                partition_key=day.isoformat(),
            )
        if picture := forecast_map(target, issued, lake.lake().read("stations"), stored_source):
            newest, png = picture
            shown = {"map": dg.MetadataValue.md(markdown_image("map", png))}
            context.add_asset_metadata(
                shown | {"dagster/column_schema": column_schema(issued.schema)}, partition_key=newest.isoformat()
            )

    return forecasts


def after_the_fact(issued: pa.Table, before: pa.Table, answered: NDArray[np.bool_]) -> pa.Table:
    """The same forecasts, with those that were made again when their answer was known marked as such.

    `answered` marks the rows whose next day is observed. Of these, one that says what it said before stays as it was
    issued; one that says something else, or is of a station that did not report then, is a `hindcast`.
    """
    again = pc.and_(pa.array(answered), pc.is_in(issued["day"], pc.unique(before["day"])))
    if not pc.any(again).as_py():
        return issued
    order = pa.table({"at": np.arange(issued.num_rows)})
    keys, said = ("station", "day"), ("probability", "value")
    known = before.select([*keys, *said, *_ISSUE])
    known = known.rename_columns([name if name in keys else f"before_{name}" for name in known.column_names])
    joined = issued.append_column("at", order["at"]).join(known, list(keys)).sort_by("at")
    same = pc.and_(
        pc.is_valid(joined["before_issued_at"]),
        pc.equal(
            pc.coalesce(joined["probability"], joined["value"]),
            pc.coalesce(joined["before_probability"], joined["before_value"]),
        ),
    )
    same = pc.and_(again, pc.fill_null(same, False))
    changed = pc.and_(again, pc.invert(same))
    made = {name: pc.if_else(same, joined[f"before_{name}"], issued[name]) for name in _ISSUE}
    made["kind"] = pc.if_else(changed, "hindcast", made["kind"])
    for name, values in made.items():
        issued = issued.set_column(issued.column_names.index(name), FORECASTS_SCHEMA.field(name), values)
    return issued


_ISSUE = ("kind", "issued_at", "dagster_run_id")
"""What a forecast says of its own making."""


def forecast_map(
    target: ForecastTarget, issued: pa.Table, stations: pa.Table, source: str
) -> tuple[date, bytes] | None:
    """The newest issue day with forecasts, and its picture: every station that reported, coloured by its forecast."""
    if not issued.num_rows:
        return None
    newest: date = pc.max(issued["day"]).as_py()
    shown = issued.filter(pc.equal(issued["day"], newest)).join(stations, "station", "id").sort_by("station")
    title = f"{target.title}\nissued {newest}{made_from(source)}"
    values = pc.coalesce(shown["probability"], shown["value"]).to_numpy()
    dots = StationDots(
        name=shown["station"].to_pylist(),
        latitude_deg=shown["latitude_deg"].to_numpy(),
        longitude_deg=shown["longitude_deg"].to_numpy(),
        value=values,
        ringed=pc.fill_null(shown["label"], False).to_numpy(),
    )
    if target.task == "classification":
        yes = f"yes: {float(shown['threshold'][0].as_py()):.2f} or more"
        return newest, station_map_png(dots, title, unit=target.unit, colours="YlGnBu", ends=(0.0, 1.0), ring_means=yes)
    ends = (_below(values.min()), _below(values.max()) + _MAP_STEP)
    return newest, station_map_png(dots, title, unit=target.unit, colours="RdYlBu_r", ends=ends)


_MAP_STEP = 5.0
"""The colours of a map of values end at multiples of this, so that those of neighbouring days can be compared."""


def _below(value: float) -> float:
    return math.floor(value / _MAP_STEP) * _MAP_STEP


def forecast_rows(
    target: ForecastTarget,
    rows: TrainingData,
    predictor: Predictor,
    model: RegisteredModel,
    dagster_run_id: str,
    issued_at: datetime,
) -> pa.Table:
    """The forecasts of these rows as they are stored."""
    count = len(rows)
    forecasts = predictor.predict(rows.values)
    hindcast = rows.day <= day_number(model.tested_through)
    columns = {
        "target": pa.repeat(target.name, count),
        "station": pa.array(rows.station_ids, pa.string()).take(pa.array(rows.station_index)),
        "day": pa.array(rows.day).cast(pa.date32()),
        "model_version": pa.repeat(model.version, count),
        "kind": pc.if_else(pa.array(hindcast), "hindcast", "live"),
        "model_digest": pa.repeat(model.digest, count),
        "feature_version": pa.repeat(rows.feature_version, count),
        **_forecast_columns(forecasts, predictor.contract.threshold),
        "issued_at": pa.repeat(issued_at, count),
        "dagster_run_id": pa.repeat(dagster_run_id, count),
    }
    return pa.table(columns).select(FORECASTS_SCHEMA.names).cast(FORECASTS_SCHEMA)


def _forecast_columns(forecasts: Forecasts, threshold: float | None) -> dict[str, pa.Array]:
    """A probability with its threshold and decision, or a value with its interval; the other columns are null."""
    count = len(forecasts.value)
    columns = dict.fromkeys(("probability", "threshold", "label", "value", "value_low", "value_high"), pa.nulls(count))
    own: dict[str, NDArray[Any]]
    if threshold is None:
        low, high = forecasts.interval
        own = {"value": forecasts.value, "value_low": low, "value_high": high}
    else:
        own = {"probability": forecasts.value, "threshold": np.full(count, threshold), "label": forecasts.decision}
    return columns | {name: pa.array(values) for name, values in own.items()}
