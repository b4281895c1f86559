"""Checks of stage drift: what the database says is what is stored, and people hear of drift and of not knowing."""

import json
from collections.abc import Iterable, Mapping

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.database import Database, DriftRecord
from weather_platform.io_managers.reports import VALUES_FORMAT
from weather_platform.resources.reports import ReportStore

KEY = dg.AssetKey("drift_report")


def drift_checks() -> list[dg.AssetChecksDefinition]:
    """All checks of the drift reports."""

    @dg.asset_check(
        asset=KEY, name="report_is_stored", blocking=True,
        description="The page and the values that the database names are in the report store, and say the same as it.",
    )  # fmt: skip
    def report_is_stored(
        context: dg.AssetCheckExecutionContext,
        database: dg.ResourceParam[Database],
        reports: dg.ResourceParam[ReportStore],
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, KEY)
        return report(unlike_their_files(months, database.drift(months), reports), looked_at=len(months))

    @dg.asset_check(
        asset=KEY, name="no_drift",
        description="No column, prediction or label drifted. A month that is unknown does not pass.",
    )  # fmt: skip
    def no_drift(context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        months = partitions_of_run(context, KEY)
        return report(
            of_status(database.drift(months), "drift", "unknown"), looked_at=len(months), severity=WARN,
            meaning="The month differs from those that the models learned from, or could not be compared. The "
            "drift report shows the columns; if their instruments are right, train on newer data.",
        )  # fmt: skip

    @dg.asset_check(
        asset=KEY, name="drift_status_known", description="There was enough to compare each month with its reference."
    )
    def drift_status_known(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, KEY)
        return report(
            of_status(database.drift(months), "unknown"), looked_at=len(months), severity=WARN,
            meaning="There are too few reports to say whether the month drifted. Report it again when its days are in.",
        )  # fmt: skip

    @dg.asset_check(
        asset=KEY, name="every_column_reported",
        description="Every observed column that the reference knows was reported by somebody in the month.",
    )  # fmt: skip
    def every_column_reported(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, KEY)
        return report(
            columns_nobody_reported(database.drift(months)), looked_at=len(months), severity=WARN,
            meaning="No station reported these columns, which the models learned from; they take them as missing, and "
            "forecasts are less sure. Look whether the source still has them.",
        )  # fmt: skip

    @dg.asset_check(
        asset=KEY, name="stations_like_their_neighbours",
        description="No station departs from its neighbours in any column. A month that is unknown does not pass.",
    )  # fmt: skip
    def stations_like_their_neighbours(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, KEY)
        return report(
            departing(database.drift(months)), looked_at=len(months), severity=WARN,
            meaning="The mean of the month differs from the stations around by far more than it did in the training "
            "years. Look at the sensor and its unit; no model is trained by it.",
        )  # fmt: skip

    return [report_is_stored, no_drift, drift_status_known, every_column_reported, stations_like_their_neighbours]


def departing(records: Mapping[str, DriftRecord]) -> Findings:
    """The months in which a station departs from its neighbours, or in which that is not known."""
    findings = {}
    for month, record in records.items():
        if record.departures is None:
            findings[month] = "not compared with their neighbours; report the month again"
        elif record.departures.status != "none":
            findings[month] = "; ".join(record.departures.reasons)
    return findings


def of_status(records: Mapping[str, DriftRecord], *statuses: str) -> Findings:
    """The months of these statuses, and why."""
    return {
        month: "; ".join(record.verdict.reasons)
        for month, record in records.items()
        if record.verdict.status in statuses
    }


def columns_nobody_reported(records: Mapping[str, DriftRecord]) -> Findings:
    """The months in which an observed column is missing that the reference knows, and which columns."""
    gone = {
        month: [
            column.name
            for column in record.verdict.columns
            if column.kind == "observation"
            and column.status == "missing"
            and column.reference_missing_share not in (None, 1.0)
        ]
        for month, record in records.items()
    }
    return {month: f"nobody reported {', '.join(names)}" for month, names in gone.items() if names}


def unlike_their_files(months: Iterable[str], records: Mapping[str, DriftRecord], store: ReportStore) -> Findings:
    """Months whose row is absent, or names files that are not there or say something else. An outage raises."""
    findings: dict[str, str] = {}
    for month in months:
        record = records.get(month)
        if record is None:
            findings[month] = "the database has no report"
            continue
        stored = store.names(record.values_path.rpartition("/")[0])
        if absent := [path for path in (record.page_path, record.values_path) if path not in stored]:
            findings[month] = f"{', '.join(absent)} is not in the report store"
            continue
        if wrong := _difference(record, store.read(record.values_path)):
            findings[month] = f"{record.values_path} {wrong}"
    return findings


def _difference(record: DriftRecord, document: bytes) -> str | None:
    try:
        values = json.loads(document)
        said = values["format"], values["verdict"], values["models"], values["features_lake_version"]
        metrics = values["evidently"].get("metrics", [])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"is no drift report ({error!r})"
    known = VALUES_FORMAT, record.verdict.to_dict(), record.models, record.features_lake_version
    if said != known:
        return "does not say what the database says"
    counted = [metric["value"]["share"] for metric in metrics if metric["metric_name"].startswith("DriftedColumns")]
    if counted and counted != [record.verdict.share]:
        return f"has the share {counted[0]} from Evidently, and the database {record.verdict.share}"
    return None
