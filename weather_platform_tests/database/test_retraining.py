"""The decision to retrain in the database: appended, read back whole, and closed to change."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from weather_platform.database import Database, RetrainingOutcome, RetrainingRecord, RetrainingRequest
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.retraining import Action, Outcome
from weather_platform.errors import InvariantError
from weather_platform_tests.database.test_database import decision
from weather_platform_tests.small_models import TARGET

NOON = datetime(2016, 1, 2, 12, tzinfo=UTC)
TABLES = ("retraining_requests", "retraining_decisions", "retraining_outcomes")


def retraining(**changes: Any) -> RetrainingRecord:
    values: dict[str, Any] = {
        "target": TARGET, "month": "2015-12", "decision": Action.RETRAIN, "reasons": ("rows grew", "old"),
        "notices": ("drifted",), "inputs": {"labelled_rows": 11_500, "bias": [{"low": 0.1}], "drift": None},
        "dagster_run_id": "run-1", "decided_at": NOON,
    }  # fmt: skip
    return RetrainingRecord(**(values | changes))


def outcome(decision_id: int, **changes: Any) -> RetrainingOutcome:
    values: dict[str, Any] = {
        "decision_id": decision_id, "outcome": Outcome.FAILED, "version": None, "reason": "the disk is full",
        "dagster_run_id": "run-2", "at": NOON,
    }  # fmt: skip
    return RetrainingOutcome(**(values | changes))


ASKED = RetrainingRequest(target=TARGET, kind="retrain", why="new stations", who="ann", until=None, at=NOON)
VETO = replace(ASKED, kind="veto", until=date(2016, 3, 1))


def test_decisions_come_back_as_they_were_recorded_with_what_came_of_them(database: Database) -> None:
    first = database.record_retraining_decision(retraining(decision=Action.UNKNOWN, month="2015-11"))
    second = database.record_retraining_decision(retraining())
    database.record_retraining_decision(retraining(target="other"))
    assert first.id is not None
    assert second.id is not None
    failed = outcome(second.id)
    database.record_retraining_outcome(failed)
    database.record_retraining_outcome(outcome(second.id, dagster_run_id="run-3"))
    [(one, nothing), (other, outcomes)] = database.retraining(TARGET)
    assert (one, nothing, other) == (first, [], second)
    assert [replace(each, id=None) for each in outcomes] == [failed, replace(failed, dagster_run_id="run-3")]


def test_the_same_outcome_of_the_same_run_is_recorded_once_and_another_beside_it(database: Database) -> None:
    record = database.record_retraining_decision(retraining())
    assert record.id is not None
    for each in (Outcome.DEPLOY, Outcome.FAILED, Outcome.FAILED, Outcome.DEPLOY):
        database.record_retraining_outcome(outcome(record.id, outcome=each))
    [(_, outcomes)] = database.retraining(TARGET)
    assert [each.outcome for each in outcomes] == [Outcome.DEPLOY, Outcome.FAILED]


def test_a_promotion_decision_is_the_outcome_of_the_decision_that_its_run_carries_out(database: Database) -> None:
    record = database.record_retraining_decision(retraining())
    database.record_decision(decision(decision=Verdict.SKIP, dagster_run_id="run-9"), retraining_decision=record.id)
    database.record_decision(decision())
    [(_, [came])] = database.retraining(TARGET)
    assert (came.outcome, came.version, came.reason, came.dagster_run_id) == (Outcome.SKIP, 3, "floor met", "run-9")


def test_a_promotion_that_names_no_recorded_decision_is_not_recorded_at_all(database: Database) -> None:
    with pytest.raises(InvariantError, match="nothing was written"):
        database.record_decision(decision(), retraining_decision=77)
    assert database.decisions(TARGET) == []


def test_a_request_is_recorded_with_the_decision_that_it_makes_or_not_at_all(database: Database) -> None:
    request, decided = database.record_retraining_request(ASKED, retraining())
    veto, nothing = database.record_retraining_request(VETO)
    assert decided is not None
    assert (decided.request_id, nothing) == (request.id, None)
    assert database.retraining_requests(TARGET) == [request, veto]
    assert [record for record, _ in database.retraining(TARGET)] == [decided]
    with pytest.raises(InvariantError, match="nothing was written"):
        database.record_retraining_request(ASKED, retraining(decision="TRAIN"))
    assert len(database.retraining_requests(TARGET)) == 2


def test_half_a_veto_is_refused(database: Database) -> None:
    for half in (replace(VETO, until=None), replace(ASKED, until=date(2016, 3, 1))):
        with pytest.raises(InvariantError, match="nothing was written"):
            database.record_retraining_request(half)


def test_inputs_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(InvariantError, match=r"inputs\.bias is nan"):
        retraining(inputs={"bias": float("nan")})


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("statement", ["UPDATE {} SET id = id + 1", "DELETE FROM {}"])
def test_the_database_refuses_to_change_the_record(database: Database, table: str, statement: str) -> None:
    _, decided = database.record_retraining_request(ASKED, retraining())
    assert decided is not None
    assert decided.id is not None
    database.record_retraining_outcome(outcome(decided.id))
    with pytest.raises(DBAPIError, match="append-only"), database.engine.begin() as connection:
        connection.execute(sa.text(statement.format(table)))
