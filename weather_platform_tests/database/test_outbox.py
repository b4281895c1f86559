"""The outbox on both dialects: one open notice a cause, written with its event, and one sender a message."""

import os
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier

import pytest
import sqlalchemy as sa

from weather_platform.database import AliasChange, Database, DriftRecord
from weather_platform.database.outbox import LEASE, Claim, NoticeRecord
from weather_platform.domain.notices import Notice, NoticeKind, Severity
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.retraining import Action
from weather_platform.errors import InvariantError
from weather_platform_tests.database.test_database import decision
from weather_platform_tests.database.test_retraining import ASKED, retraining
from weather_platform_tests.drift_reports import verdict_of
from weather_platform_tests.processes import exit_code, race

NOON = datetime(2015, 6, 1, 2, 0, tzinfo=UTC)
NOTICE = Notice(
    kind=NoticeKind.RUN_FAILED,
    severity=Severity.WARNING,
    cause="run failed: features: LakeError",
    title="features failed",
    text="LakeError",
    remedy="open the run",
    items=("2014",),
    opened_at=NOON,
)
MOVE = AliasChange(
    target="rain_tomorrow", alias="Production", from_version=2, to_version=3, digest="c" * 64, decision_id=None,
    reason="better on the fresh exam", dagster_run_id="run-1", changed_at=NOON,
)  # fmt: skip


def drift_record(month: str, status: str, columns: tuple[str, ...], *, hindcast: bool, at: datetime) -> DriftRecord:
    verdict = verdict_of()
    drifting = tuple(replace(verdict.columns[0], name=name, status="drift") for name in columns)
    verdict = replace(
        verdict, month=month, status=status, hindcast=hindcast, columns=drifting or verdict.columns,  # type: ignore[arg-type]
        reasons=("it is far away",),
    )  # fmt: skip
    return DriftRecord(
        verdict=verdict, models={}, features_lake_version=1, page_path="page", values_path="values",
        dagster_run_id="run-1", reported_at=at,
    )  # fmt: skip


def notices(database: Database, *, open_only: bool = False) -> list[NoticeRecord]:
    with database.outbox(writing=False) as outbox:
        return outbox.notices(open_only=open_only)


def open_(database: Database, *what: Notice) -> list[bool]:
    with database.outbox() as outbox:
        return [outbox.open(each) for each in what]


def later(minutes: int, **changes: object) -> Notice:
    return replace(NOTICE, opened_at=NOON + timedelta(minutes=minutes), **changes)  # type: ignore[arg-type]


def test_of_a_cause_one_notice_is_open_and_after_its_end_there_may_be_another(database: Database) -> None:
    assert open_(database, NOTICE, later(1, items=("2015",)), NOTICE) == [True, False, False]
    [notice] = notices(database)
    assert (notice.items, notice.opened_at) == (("2014", "2015"), NOON)
    with database.outbox() as outbox:
        assert not outbox.resolve(NOTICE.cause, NOON + timedelta(minutes=2), ["2014"])
        assert outbox.resolve(NOTICE.cause, NOON + timedelta(minutes=3), ["2015"])
        assert not outbox.resolve(NOTICE.cause, NOON + timedelta(minutes=4))
    assert notices(database, open_only=True) == []
    assert open_(database, NOTICE, later(1)) == [False, False], "events that were seen already"
    assert open_(database, later(5)) == [True]
    assert len(notices(database)) == 2


def test_the_database_itself_refuses_a_second_open_notice_of_a_cause(database: Database) -> None:
    open_(database, NOTICE)
    copied = "kind, severity, cause, title, text, remedy, items, opened_at, last_event_at, opening_routed, end_routed"
    copy = f"INSERT INTO notices ({copied}) SELECT {copied} FROM notices"  # noqa: S608 - of constants
    with pytest.raises(InvariantError), database.outbox() as outbox:
        outbox.connection.execute(sa.text(copy))
    with database.outbox() as outbox:
        outbox.resolve(NOTICE.cause, NOON + timedelta(minutes=1))
        outbox.connection.execute(sa.text(copy))


def test_a_success_from_before_the_newest_failure_ends_nothing(database: Database) -> None:
    open_(database, later(5))
    with database.outbox() as outbox:
        assert not outbox.resolve(NOTICE.cause, NOON, ["2014"])
    assert len(notices(database, open_only=True)) == 1


def test_a_move_of_production_is_written_with_its_notice_or_not_at_all(database: Database, url: str) -> None:
    with database.locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(MOVE)
        ledger.record_alias_change(replace(MOVE, alias="Previous", to_version=2))
    [notice] = notices(database)
    assert (notice.kind, notice.title) == (NoticeKind.PROMOTED, "rain_tomorrow: version 3 serves")
    assert notice.resolved_at == NOON, "there is nothing to wait for"
    assert exit_code(move_and_die, url) == -signal.SIGKILL
    with pytest.raises(ValueError, match="stop"):
        move_and_fail(database)
    assert len(notices(database)) == 1
    assert len(database.alias_changes("rain_tomorrow", "Production")) == 1


def move_and_fail(database: Database) -> None:
    with database.locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(replace(MOVE, from_version=3, to_version=5))
        raise ValueError("stop")


def move_and_die(url: str) -> None:
    with Database(url).locked("rain_tomorrow") as ledger:
        ledger.record_alias_change(replace(MOVE, from_version=3, to_version=4))
        os.kill(os.getpid(), signal.SIGKILL)


def test_drift_of_the_newest_month_is_a_notice_until_a_newer_month_has_none(database: Database) -> None:
    def report(month: str, status: str, *columns: str, hindcast: bool = False, hour: int = 0) -> list[str]:
        at = NOON + timedelta(hours=hour)
        database.replace_drift(drift_record(month, status, columns, hindcast=hindcast, at=at))
        return [each.cause for each in notices(database, open_only=True)]

    assert report("2015-01", "none") == []
    assert report("2015-02", "drift", "rainfall", hindcast=True) == [], "the models learned from it"
    assert report("2015-03", "drift", "rainfall", hour=1) == ["drift in rainfall"]
    assert report("2015-04", "drift", "rainfall", hour=2) == ["drift in rainfall"]
    assert len(notices(database)) == 1
    assert report("2015-05", "unknown", hour=3) == ["drift in rainfall"], "not known is not over"
    assert report("2015-01", "drift", "humidity", hour=4) == ["drift in rainfall"], "of an old month"
    assert report("2015-06", "drift", "cloud", "rainfall", hour=5) == ["drift in cloud, rainfall"]
    assert report("2015-06", "none", hour=6) == []
    assert len(notices(database)) == 2


def test_decisions_to_train_are_notices_and_one_that_is_not_known_stays_open_until_it_is(database: Database) -> None:
    def decide(month: str, action: Action, minutes: int) -> list[str]:
        at = NOON + timedelta(minutes=minutes)
        database.record_retraining_decision(retraining(month=month, decision=action, decided_at=at))
        return [each.cause for each in notices(database, open_only=True)]

    unknown = ["retraining not known: rain_tomorrow"]
    assert decide("2015-10", Action.UNKNOWN, 0) == unknown
    assert decide("2015-11", Action.UNKNOWN, 1) == unknown
    assert decide("2015-12", Action.OK, 2) == []
    assert decide("2016-01", Action.WAIT, 3) == []
    assert len(notices(database)) == 1
    assert decide("2016-02", Action.RETRAIN, 4) == []
    assert decide("2016-03", Action.RECALIBRATE, 5) == []
    assert [(each.kind.value, each.title) for each in notices(database)[:2]] == [
        ("retraining_decided", "rain_tomorrow: the forecasts are biased and are calibrated again"),
        ("retraining_decided", "rain_tomorrow: the model is trained again"),
    ]
    database.record_retraining_request(ASKED, retraining(decided_at=NOON))
    assert len(notices(database)) == 4


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict.DEPLOY, []),
        (Verdict.SKIP, ["rain_tomorrow: version 8 was trained and does not serve (SKIP)"]),
        (Verdict.REJECT, ["rain_tomorrow: version 8 was trained and does not serve (REJECT)"]),
    ],
)
def test_what_a_retraining_brought_is_a_notice_when_it_does_not_serve(
    database: Database, verdict: Verdict, said: list[str]
) -> None:
    asked = database.record_retraining_decision(retraining())
    before = len(notices(database))
    judged = decision(target=asked.target, decision=verdict, challenger_version=8)
    database.record_decision(judged)
    assert len(notices(database)) == before, "no decision to retrain asked for this one"
    database.record_decision(judged, retraining_decision=asked.id)
    found = notices(database)
    assert [each.title for each in found[: len(found) - before]] == said


def test_processes_that_open_the_same_cause_at_once_make_one_notice_with_all_items(
    database: Database, url: str
) -> None:
    opened = race(*((open_at_once, url, str(year)) for year in range(2010, 2014)))
    assert sorted(opened) == [False, False, False, True]
    [notice] = notices(database)
    assert notice.items == ("2010", "2011", "2012", "2013")


def open_at_once(start: Barrier, url: str, year: str) -> bool:
    database = Database(url)
    assert notices(database) == []
    start.wait(60)
    with database.outbox() as outbox:
        return outbox.open(replace(NOTICE, items=(year,)))


def test_senders_at_once_make_each_delivery_once_and_claim_each_message_once(database: Database, url: str) -> None:
    for number in range(12):
        open_(database, replace(NOTICE, cause=f"cause {number}"))
    claimed = race(*((claim_all, url) for _ in range(4)))
    ids = [each for one in claimed for each in one]
    assert len(ids) == 24
    assert len(set(ids)) == 24


def claim_all(start: Barrier, url: str) -> list[int]:
    """Route to two channels and claim until nothing is left, as a sender does."""
    database = Database(url)
    start.wait(60)
    with database.outbox() as outbox:
        for phase, notice in outbox.unrouted():
            outbox.route(notice.id, phase, {"one": (NOON, False), "two": (NOON, False)})
    ids: list[int] = []
    while (claim := claimed(database, NOON)) is not None:
        ids += [delivery.id for delivery in claim.deliveries]
    return ids


def claimed(database: Database, now: datetime) -> Claim | None:
    with database.outbox() as outbox:
        return outbox.claim(now)


def test_the_end_of_a_notice_waits_until_its_opening_was_sent_or_given_up(database: Database) -> None:
    def route() -> None:
        with database.outbox() as outbox:
            for phase, notice in outbox.unrouted():
                outbox.route(notice.id, phase, {"one": (NOON, False)})

    open_(database, NOTICE)
    route()
    with database.outbox() as outbox:
        outbox.resolve(NOTICE.cause, NOON + timedelta(minutes=1))
    route()
    first = claimed(database, NOON)
    assert first is not None
    assert [delivery.phase for delivery in first.deliveries] == ["opened"]
    assert claimed(database, NOON) is None
    with database.outbox() as outbox:
        outbox.settle(first, NOON, None)
    second = claimed(database, NOON)
    assert second is not None
    assert [delivery.phase for delivery in second.deliveries] == ["over"]
    assert claimed(database, NOON + LEASE - timedelta(seconds=1)) is None
    assert claimed(database, NOON + LEASE) is not None


def test_old_notices_are_let_go_of_when_they_ended_and_wait_for_no_channel(database: Database) -> None:
    def route(channels: dict[str, tuple[datetime, bool]]) -> None:
        with database.outbox() as outbox:
            for phase, notice in outbox.unrouted():
                outbox.route(notice.id, phase, channels)

    def end(cause: str) -> None:
        with database.outbox() as outbox:
            outbox.resolve(cause, NOON + timedelta(minutes=1))

    def forget(before: datetime) -> int:
        with database.outbox() as outbox:
            return outbox.forget(before)

    open_(database, NOTICE, replace(NOTICE, cause="ended"), replace(NOTICE, cause="still to be sent"))
    end("ended")
    end("still to be sent")
    with database.outbox() as outbox:
        for phase, notice in outbox.unrouted():
            outbox.route(notice.id, phase, {"one": (NOON, False)} if notice.cause == "still to be sent" else {})
    route({})
    assert forget(NOON) == 0, "young"
    assert forget(NOON + timedelta(days=1)) == 1
    assert {notice.cause for notice in notices(database)} == {NOTICE.cause, "still to be sent"}
