"""The IO manager of reports: a drift report goes in, a page and its values are stored, the database is told last.

What belongs here: what is stored of a report, where, and in which order. What does not: making the report
(`evidently_report`), the store itself (`resources.reports`).

A report of a month is two files named by the digest of its values and by its run, so that nothing that a row names is
ever written over. The row is replaced in one transaction when both are there, and only then are the month's other
files deleted. So whatever fails, and wherever a process is killed, the row names two whole files that are there.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from weather_platform.database import Database, DriftRecord
from weather_platform.domain.departures import DepartureVerdict
from weather_platform.domain.drift import DriftVerdict
from weather_platform.errors import InvariantError, PartitionMissingError
from weather_platform.evidently_report import STATIC_FOLDER, static_files
from weather_platform.io_managers.costs import tell_costs
from weather_platform.lake.provenance import made_from, read_version_key
from weather_platform.plots import drift_png, markdown_image
from weather_platform.resources.reports import ReportStore

VALUES_FORMAT = "weather-platform/drift-report/1"
DRIFT_FOLDER = "drift_report"


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What the drift asset gives for one month: the verdict, where the rows come from, which models were asked, and
    Evidently's page and values."""

    verdict: DriftVerdict
    source: str
    models: Mapping[str, Mapping[str, object]]
    features_lake_version: int
    page: bytes
    evidently: Mapping[str, Any]
    dagster_run_id: str
    reported_at: datetime
    departures: DepartureVerdict

    def document(self) -> bytes:
        """The values as they are stored: the verdict, and everything Evidently said. The same bits for the same."""
        values = {
            "format": VALUES_FORMAT,
            "verdict": self.verdict.to_dict(),
            "models": self.models,
            "features_lake_version": self.features_lake_version,
            "departures": self.departures.to_dict(),
            "evidently": self.evidently,
        }
        return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


class ReportIOManager(dg.IOManager):
    """Takes reports by month, asked for one at a time. Gives what the database knows of them."""

    def handle_output(self, context: dg.OutputContext, obj: Mapping[str, DriftReport]) -> None:
        """Publish each month of the run, and tell what it says."""
        store: ReportStore = context.resources.reports
        for month in context.asset_partition_keys:
            report = obj[month]
            record = publish(store, context.resources.database, month, report)
            context.step_context.add_asset_metadata(
                _told(record, store, report.source), asset_key=context.asset_key, partition_key=month
            )
        tell_costs(context.step_context)

    def load_input(self, context: dg.InputContext) -> Mapping[str, DriftRecord]:
        """What the database says of the months asked for."""
        asked = sorted(context.asset_partition_keys)
        found: dict[str, DriftRecord] = context.resources.database.drift(asked)
        if missing := [month for month in asked if month not in found]:
            raise PartitionMissingError(f"no drift report of {', '.join(missing)}; materialise drift_report first")
        return found


@dg.io_manager(
    required_resource_keys={"reports", "database"}, description="Reports in their store, what they say in the database."
)
def report_io_manager(_: dg.InitResourceContext) -> ReportIOManager:
    """The IO manager to bind."""
    return ReportIOManager()


def publish(store: ReportStore, database: Database, month: str, report: DriftReport) -> DriftRecord:
    """Store the two files, then the row that names them, then let go of what the month had before."""
    if report.verdict.month != month:
        raise InvariantError(f"the report of {month} is one of {report.verdict.month}; nothing was stored")
    document = report.document()
    folder = f"{DRIFT_FOLDER}/{month}"
    name = f"{hashlib.sha256(document).hexdigest()[:16]}-{report.dagster_run_id[:8]}"
    record = DriftRecord(
        verdict=report.verdict,
        models=report.models,
        features_lake_version=report.features_lake_version,
        page_path=f"{folder}/{name}.html",
        values_path=f"{folder}/{name}.json",
        dagster_run_id=report.dagster_run_id,
        reported_at=report.reported_at,
        departures=report.departures,
    )
    if report.evidently:
        shared = {f"{STATIC_FOLDER}/{file}": data for file, data in static_files().items()}
        for path in sorted(shared.keys() - store.names(STATIC_FOLDER)):
            store.write(path, shared[path])
    store.write(record.page_path, report.page)
    store.write(record.values_path, document)
    database.replace_drift(record)
    for path in sorted(store.names(folder) - {record.page_path, record.values_path}):
        store.delete(path)
    return record


def _told(record: DriftRecord, store: ReportStore, source: str) -> dict[str, Any]:
    verdict, departures = record.verdict, record.departures
    assert departures is not None  # noqa: S101 - `publish` made it
    share: dict[str, Any] = {}
    if verdict.share is not None:
        title = f"Drift of {verdict.month}: {verdict.status}{made_from(source)}"
        picture = markdown_image("drift", drift_png(verdict, title))
        share = {"share": verdict.share, "columns": dg.MetadataValue.md(picture)}
    link = dg.MetadataValue.url if store.uri.startswith("s3://") else dg.MetadataValue.path
    return {
        "rows": verdict.rows,
        read_version_key("features"): record.features_lake_version,
        "source": source,
        "status": verdict.status,
        "reasons": dg.MetadataValue.json(list(verdict.reasons)),
        "drifted_columns": dg.MetadataValue.json(verdict.named("drift")),
        "missing_columns": dg.MetadataValue.json(verdict.named("missing")),
        "unseen_stations": dg.MetadataValue.json(list(verdict.unseen_stations)),
        "hindcast": verdict.hindcast,
        "departures": departures.status,
        "departing_stations": dg.MetadataValue.json(departures.columns_of()),
        "departure_reasons": dg.MetadataValue.json(list(departures.reasons)),
        "models": dg.MetadataValue.json({name: dict(model) for name, model in record.models.items()}),
        "report": link(store.address(record.page_path)),
        "report_values": link(store.address(record.values_path)),
        **share,
    }
