"""When a notice may be sent, how long to wait, and what its texts hold."""

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from weather_platform.domain.notices import (
    MOST_TRIES,
    NoticeKind,
    QuietHours,
    Severity,
    due_at,
    production_moved,
    shortened,
    wait_after,
)
from weather_platform.settings import PROJECT_DIR

SYDNEY = ZoneInfo("Australia/Sydney")
NIGHT, LUNCH = QuietHours(time(22), time(7)), QuietHours(time(12), time(13, 30))


def at(hour: int, minute: int = 0, day: int = 10) -> datetime:
    return datetime(2015, 6, day, hour, minute, tzinfo=SYDNEY)


@pytest.mark.parametrize(
    ("quiet", "moment", "end"),
    [
        (NIGHT, at(21, 59), None),
        (NIGHT, at(22), at(7, day=11)),
        (NIGHT, at(23, 59), at(7, day=11)),
        (NIGHT, at(0), at(7)),
        (NIGHT, at(6, 59), at(7)),
        (NIGHT, at(7), None),
        (LUNCH, at(11, 59), None),
        (LUNCH, at(12), at(13, 30)),
        (LUNCH, at(13, 30), None),
    ],
)
def test_quiet_hours_may_pass_midnight(quiet: QuietHours, moment: datetime, end: datetime | None) -> None:
    assert quiet.until(moment) == end
    assert due_at(Severity.WARNING, moment, quiet, time(8)) == (end or moment)
    assert due_at(Severity.URGENT, moment, quiet, time(8)) == moment
    assert due_at(Severity.WARNING, moment, None, time(8)) == moment


@pytest.mark.parametrize(("moment", "due"), [(at(7, 59), at(8)), (at(8), at(8)), (at(8, 1), at(8, day=11))])
def test_the_digest_is_at_its_time_of_the_day(moment: datetime, due: datetime) -> None:
    assert due_at(Severity.INFO, moment, NIGHT, time(8)) == due


def test_the_digest_keeps_its_local_time_when_the_clocks_change() -> None:
    evening = datetime(2015, 10, 3, 20, tzinfo=SYDNEY)
    due = due_at(Severity.INFO, evening, None, time(8))
    assert (due.isoformat(), evening.utcoffset()) == ("2015-10-04T08:00:00+11:00", timedelta(hours=10))


def test_tries_are_further_and_further_apart_and_end() -> None:
    waits = [wait_after(tries) for tries in range(1, MOST_TRIES + 1)]
    known = [wait for wait in waits if wait is not None]
    assert known == sorted(known)
    assert (known[0], known[-1], waits[-1]) == (timedelta(minutes=1), timedelta(hours=6), None)


@pytest.mark.parametrize(
    ("reason", "to_version", "kind", "severity"),
    [
        ("better on the fresh exam", 2, NoticeKind.PROMOTED, Severity.INFO),
        ("rollback: floods in the data", 1, NoticeKind.ROLLED_BACK, Severity.WARNING),
        ("rollback: floods in the data", None, NoticeKind.ROLLED_BACK, Severity.WARNING),
        ("canary: it does not reproduce", 1, NoticeKind.CANARY_FAILED, Severity.URGENT),
        ("canary: it does not reproduce", None, NoticeKind.CANARY_FAILED, Severity.URGENT),
        ("found so: moved by hand", 3, NoticeKind.ALIAS_MOVED, Severity.WARNING),
    ],
)
def test_a_move_of_production_is_a_notice_by_its_reason(
    reason: str, to_version: int | None, kind: NoticeKind, severity: Severity
) -> None:
    notice = production_moved(
        target="rain_tomorrow", from_version=2, to_version=to_version, reason=reason, cause="alias change 7",
        run_id="run", at=at(12),
    )  # fmt: skip
    now = "nothing serves" if to_version is None else f"version {to_version} serves"
    assert (notice.kind, notice.severity, notice.happened) == (kind, severity, True)
    assert notice.title == f"rain_tomorrow: {now}"
    assert notice.text == f"{now}, version 2 served before; {reason}"


def test_a_text_is_one_printable_line_that_calls_nobody() -> None:
    assert shortened("one\ntwo\x1b[31m\t three") == "one two [31m three"
    assert shortened("@everyone <!here>") == "@\u200beveryone <\u200b!here>"
    assert len(shortened("x" * 2000)) == 600


def test_each_kind_has_a_runbook_and_a_line_in_the_how_to() -> None:
    runbooks = {path.name for path in (PROJECT_DIR / "docs" / "runbooks").iterdir()}
    assert {kind.runbook for kind in NoticeKind} <= runbooks
    how_to = (PROJECT_DIR / "docs" / "how-to" / "notifications.md").read_text()
    for kind in NoticeKind:
        assert f"| `{kind}` |" in how_to
        assert f"../runbooks/{kind.runbook})" in how_to
