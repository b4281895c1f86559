"""Stage forecasts: what the forecasts of a month were worth, once the next day was there.

All forecasts issued in the month joined with what the same station reported the next day, by model version, kind and
state: Brier score (or squared and absolute errors), skill against climatology and persistence as they were known when
that version was trained, and reliability. Kept as sums, so that a season, a year or all states add up exactly. The bias
(mean of forecast minus observed) of all, each state and each station has a 98 % interval; two months in a row on one
side of 0 ask for new calibration.
Live forecasts and hindcasts are never added together. A forecast whose next day is not there yet is pending, and one
whose station did not report it is unmatched; neither counts. The month is materialised again when labels arrive.
"""

from functools import cache, lru_cache, partial
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.assets.catalogue import described, shared
from weather_platform.database import Database
from weather_platform.domain.day_versions import DayVersions
from weather_platform.domain.forecast_days import state_of_month
from weather_platform.domain.matured import (
    COUNTS,
    HEADINGS,
    MAIN_ERROR,
    REFERENCES,
    Matured,
    combine,
    facts_columns,
    measure_month,
    notable_biases,
    nothing_matured,
    with_scores,
)
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import PartitionMissingError
from weather_platform.io_managers.costs import metered
from weather_platform.io_managers.stored import FEATURES_TABLE, LABELS, MEASURED_OF, Stored, newest_event, stored_by
from weather_platform.lake import Lake
from weather_platform.lake.partitions import TablePartitions
from weather_platform.lake.provenance import lake_source, made_from
from weather_platform.partitions import days_of_month
from weather_platform.plots import markdown_image
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.references import references_of
from weather_platform.resources.registry import ModelRegistry
from weather_platform.skill_plots import matured_reliability_png, skill_by_month_png


def matured_skill_asset(target: ForecastTarget, months: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """The `{target}/matured_skill` asset."""
    of_the_month = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)

    @dg.asset(
        key=[target.name, "matured_skill"],
        **shared("forecasts", "sqlalchemy"),
        partitions_def=months,
        # No input: a month without forecasts needs no features, and Dagster's UI asks for months of years to come.
        # No edge to the split: what a model was trained from is pinned in its version and does not change any more.
        deps=[
            dg.AssetDep("features", partition_mapping=of_the_month),
            dg.AssetDep([target.name, "forecasts"], partition_mapping=of_the_month),
        ],
        tags={"target": target.name},
        description=described(f"Matured skill of {target.name}.\n\n{__doc__}", target),
    )
    @metered
    def matured_skill(
        context: dg.AssetExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
        stations: pa.Table,
    ) -> None:
        measured_at = run_created_at(context.instance, context.run.run_id)
        states = dict(zip(stations["id"].to_pylist(), stations["state"].to_pylist(), strict=True))
        references = cache(partial(references_of, target, registry, lake.lake()))
        facts = lru_cache(maxsize=1)(partial(facts_of, target, lake.lake()))  # months of a year follow each other
        features = cache(partial(newest_event, context.instance, dg.AssetKey(FEATURES_TABLE), read=stored_by))
        for month in context.partition_keys:
            # Before the rows: what arrives meanwhile makes the month be measured again.
            state = _state(target, month, database, features(month[:4]))
            issued = database.forecasts(target.name, *days_of_month(month))
            matured = nothing_matured()
            if issued.num_rows:
                matured = measure_month(target, month, issued, facts(month[:4]), states, references)
            database.replace_matured_skill(
                target.name, month, matured, measured_at=measured_at, dagster_run_id=context.run.run_id
            )
            context.add_asset_metadata(told(target, matured) | {MEASURED_OF: state}, partition_key=month)
        newest = context.partition_keys[-1]
        context.add_asset_metadata(
            pictures_of(
                target,
                database.matured_skill(target.name, context.partition_keys[0], newest),
                lake_source(lake.lake()),
            ),
            partition_key=newest,
        )

    return matured_skill


def _state(target: ForecastTarget, month: str, database: Database, features: Stored | None) -> str:
    """What there is to measure of a month."""
    first, last = days_of_month(month)
    days = [each for each in database.forecast_days(target.name) if first <= each.day <= last]
    return state_of_month(days, features.days(LABELS) if features else DayVersions({}))


def facts_of(target: ForecastTarget, lake: Lake, year: str) -> pa.Table:
    """What happened in a year; PartitionMissingError without its features, which forecasts of it were made from."""
    features = TablePartitions.of(lake, "features", [year])
    if year not in features:
        raise PartitionMissingError(f"asset 'features' lacks partition {year}; materialise it first")
    return features.select(facts_columns(target))[year]


def told(target: ForecastTarget, matured: Matured) -> dict[str, Any]:
    """What the materialization of a month says."""
    [counts] = combine(matured.skill, ()).select(COUNTS).to_pylist()
    metadata: dict[str, Any] = {name: count or 0 for name, count in counts.items()}
    metadata["rows"] = metadata["matured"]
    if not metadata["forecasts"]:
        return metadata | {"reason": "no forecast was issued in this month"}
    if not metadata["matured"]:
        return metadata | {"reason": "what happened is not known yet; materialise the month again when it is"}
    by_kind = with_scores(combine(matured.skill, ("kind",)))
    main = MAIN_ERROR[target.task]
    for row in by_kind.to_pylist():
        for reference in REFERENCES:
            if (skill := row[f"{main}_skill_{reference}"]) is not None:
                metadata[f"{row['kind']}_skill_{reference}"] = skill
    tables = [skill_markdown(target, matured.skill, by) for by in (("kind", "model_version"), ("kind", "state"))]
    return metadata | {
        "skill": dg.MetadataValue.md("\n\n".join(tables)),
        "bias": dg.MetadataValue.md(bias_markdown(notable_biases(matured.bias))),
    }


def bias_markdown(bias: pa.Table) -> str:
    """Biases with their intervals, as a table of Markdown; the interval of a single day is not known."""
    headings = ("kind", "model version", "place", "rows", "days", "bias", "98 % interval")
    lines = [f"| {' | '.join(headings)} |", "|---" * 3 + "|---:" * 4 + "|"]
    for row in bias.to_pylist():
        interval = "" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
        figures = (f"{row['rows']:,}", str(row["days"]), f"{row['bias']:+.3f}", interval)
        lines.append(f"| {' | '.join((row['kind'], str(row['model_version']), row['place'] or 'all', *figures))} |")
    return "\n".join(lines)


def skill_markdown(target: ForecastTarget, skill: pa.Table, by: tuple[str, ...]) -> str:
    """Scores by some of the columns, as a table of Markdown."""
    headings = [name.replace("_", " ") for name in (*by, *COUNTS[1:])] + list(HEADINGS[target.task].values())
    lines = [f"| {' | '.join(headings)} |", "|---" * len(by) + "|---:" * (len(headings) - len(by)) + "|"]
    for row in with_scores(combine(skill, by)).to_pylist():
        scores = ("" if row[name] is None else f"{row[name]:.3f}" for name in HEADINGS[target.task])
        cells = (*(str(row[name]) for name in by), *(f"{row[name]:,}" for name in COUNTS[1:]), *scores)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pictures_of(target: ForecastTarget, matured: Matured, source: str | None) -> dict[str, dg.MetadataValue[Any]]:
    """Reliability of the months of a run and, when they are several, their skill; nothing when nothing has matured."""
    months = pc.unique(matured.reliability["month"]).sort().to_pylist()
    if not months:
        return {}
    span = months[0] if len(months) == 1 else f"{months[0]} to {months[-1]}"
    title = f"{target.title}, issued {span}{made_from(source)}"
    pictures = {"reliability": matured_reliability_png(target, matured.reliability, title)}
    if len(months) > 1:
        pictures["skill_by_month"] = skill_by_month_png(target, matured.skill, title)
    return {name: dg.MetadataValue.md(markdown_image(name, png)) for name, png in pictures.items()}
