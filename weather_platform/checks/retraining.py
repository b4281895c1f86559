"""Checks of the decision to retrain: every month has one, and people hear when it could not be made."""

from collections.abc import Iterable, Mapping

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.database import Database, RetrainingRecord
from weather_platform.domain.retraining import Action
from weather_platform.domain.targets import ForecastTarget


def retraining_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of a target's decisions; they read the database as people will."""
    key = dg.AssetKey([target.name, "retraining"])

    @dg.asset_check(
        asset=key, name="decision_made", description="Whether to retrain could be decided: no fact was missing.",
    )  # fmt: skip
    def decision_made(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]
    ) -> dg.AssetCheckResult:
        months = partitions_of_run(context, key)
        records = [record for record, _ in database.retraining(target.name) if record.request_id is None]
        return report(
            undecided_months(months, {record.month: record for record in records}), looked_at=len(months),
            severity=WARN,
            meaning="Nothing is trained on less. `weather watch` makes the drift report and the matured skill of a "
            "month; `weather retrain` trains without them.",
        )  # fmt: skip

    return [decision_made]


def undecided_months(months: Iterable[str], newest: Mapping[str, RetrainingRecord]) -> Findings:
    """The months that have no decision, or UNKNOWN as the newest one: what is missing."""
    findings: dict[str, str] = {}
    for month in months:
        record = newest.get(month)
        if record is None:
            findings[month] = "the database has no decision"
        elif record.decision is Action.UNKNOWN:
            findings[month] = "; ".join(record.reasons)
    return findings
