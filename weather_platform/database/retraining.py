"""The rows of the decision to retrain: what people asked, what was decided, what came of it. Appended and read.

What belongs here: the statements. What does not: the transaction (`store`), or the decision (`domain.retraining`).
"""

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from weather_platform.database.models import Base, RetrainingDecisionRow, RetrainingOutcomeRow, RetrainingRequestRow
from weather_platform.database.records import RetrainingOutcome, RetrainingRecord, RetrainingRequest
from weather_platform.domain.retraining import Action, Outcome

_REQUESTS = Base.metadata.tables[RetrainingRequestRow.__tablename__]
_DECISIONS = Base.metadata.tables[RetrainingDecisionRow.__tablename__]
_OUTCOMES = Base.metadata.tables[RetrainingOutcomeRow.__tablename__]


def append_request(connection: sa.Connection, request: RetrainingRequest) -> int:
    """Append one request or veto; gives its id."""
    return _append(connection, _REQUESTS, request)


def append_decision(connection: sa.Connection, record: RetrainingRecord) -> int:
    """Append one decision; gives its id."""
    return _append(connection, _DECISIONS, record)


def append_outcome(connection: sa.Connection, outcome: RetrainingOutcome) -> None:
    """Append what came of a decision, unless the same of the same run is there: a sensor may deliver twice."""
    columns = _OUTCOMES.c
    known = sa.select(sa.exists().where(
        columns.decision_id == outcome.decision_id,
        columns.dagster_run_id == outcome.dagster_run_id,
        columns.outcome == outcome.outcome,
    ))  # fmt: skip
    if not connection.execute(known).scalar_one():
        _append(connection, _OUTCOMES, outcome)


def requests(connection: sa.Connection, target: str) -> list[RetrainingRequest]:
    """All requests and vetoes of the target, oldest first."""
    query = sa.select(_REQUESTS).where(_REQUESTS.c.target == target).order_by(_REQUESTS.c.id)
    return [RetrainingRequest(**row) for row in connection.execute(query).mappings()]


def decisions(connection: sa.Connection, target: str) -> list[RetrainingRecord]:
    """All decisions of the target, oldest first."""
    query = sa.select(_DECISIONS).where(_DECISIONS.c.target == target).order_by(_DECISIONS.c.id)
    return [
        RetrainingRecord(
            **{
                **row,
                "decision": Action(row["decision"]),
                "reasons": tuple(row["reasons"]),
                "notices": tuple(row["notices"]),
            }
        )
        for row in connection.execute(query).mappings()
    ]


def outcomes(connection: sa.Connection, target: str) -> dict[int, list[RetrainingOutcome]]:
    """What came of each decision of the target, oldest first; a decision that nothing came of is left out."""
    of_target = sa.select(_DECISIONS.c.id).where(_DECISIONS.c.target == target)
    query = sa.select(_OUTCOMES).where(_OUTCOMES.c.decision_id.in_(of_target)).order_by(_OUTCOMES.c.id)
    found: dict[int, list[RetrainingOutcome]] = {}
    for row in connection.execute(query).mappings():
        outcome = RetrainingOutcome(**{**row, "outcome": Outcome(row["outcome"])})
        found.setdefault(outcome.decision_id, []).append(outcome)
    return found


def _append(
    connection: sa.Connection, table: sa.Table, record: RetrainingRequest | RetrainingRecord | RetrainingOutcome
) -> int:
    values: dict[str, Any] = {field.name: getattr(record, field.name) for field in fields(record) if field.name != "id"}
    return int(connection.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one())
