"""The tie between a decision to retrain and the run that carries it out: one tag of the run.

What belongs here: the tag, reading it, and the record that a run gave nothing. What does not: starting the run
(``automation.retraining``), and the record of what was trained, which is written with its promotion decision.
"""

from collections.abc import Mapping

import dagster as dg

from weather_platform.database import Database, RetrainingOutcome
from weather_platform.domain.retraining import Outcome
from weather_platform.resources.moments import run_created_at

RETRAINING_TAG = "weather/retraining_decision"
"""Tag of a run: the id of the decision that it carries out."""


def carried_out(tags: Mapping[str, str]) -> int | None:
    """The id of the decision to retrain that a run of these tags carries out; None for any other run."""
    text = tags.get(RETRAINING_TAG)
    return int(text) if text is not None else None


def record_failure(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str, database: Database) -> None:
    """Record FAILED, and why, for the decision that a run carries out; nothing for any other run."""
    decision_id = carried_out(run.tags)
    if decision_id is not None:
        database.record_retraining_outcome(
            RetrainingOutcome(
                decision_id=decision_id,
                outcome=Outcome.FAILED,
                version=None,
                reason=" ".join(reason.split()),
                dagster_run_id=run.run_id,
                at=run_created_at(instance, run.run_id),
            )
        )
