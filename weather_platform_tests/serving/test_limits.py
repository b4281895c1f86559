"""The pause after failed logins and the token bucket."""

from datetime import UTC, datetime, timedelta

import pytest

from weather_platform.database import FailedLogins
from weather_platform.serving.limits import FORGET_AFTER, LOCK, RateLimit, after_failure, locked_seconds

NOON = datetime(2015, 6, 1, 2, tzinfo=UTC)


def failed_often(times: int, now: datetime = NOON) -> FailedLogins:
    failed = None
    for _ in range(times):
        failed = after_failure(failed, now)
    assert failed is not None
    return failed


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 0), (4, 0), (5, 1), (6, 1), (1000, 1)],
)
def test_a_lock_of_a_second_begins_with_the_fifth_failure(failures: int, seconds: float) -> None:
    failed = failed_often(failures)
    assert failed.failures == failures
    assert locked_seconds(failed, NOON) == seconds
    assert locked_seconds(failed, NOON + timedelta(seconds=seconds)) == 0


def test_without_a_failure_there_is_no_lock() -> None:
    assert locked_seconds(None, NOON) == 0


def test_a_failure_counts_a_day_and_no_longer() -> None:
    failed = failed_often(7)
    assert after_failure(failed, NOON + FORGET_AFTER - timedelta(seconds=1)).failures == 8
    again = after_failure(failed, NOON + FORGET_AFTER)
    assert (again.failures, again.locked_until) == (1, None)


def test_a_clock_that_was_set_back_locks_nobody_for_longer_and_failures_lock_anew() -> None:
    ahead, now = failed_often(20), NOON - timedelta(days=3)
    assert locked_seconds(ahead, now) == 0
    again = after_failure(ahead, now)
    assert locked_seconds(again, now) == LOCK.total_seconds()
    assert locked_seconds(again, now + LOCK) == 0


def test_a_lock_of_a_host_whose_clock_is_a_little_ahead_holds() -> None:
    assert locked_seconds(failed_often(20), NOON - timedelta(seconds=30)) == LOCK.total_seconds()


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("weather_platform.serving.limits.monotonic", lambda: now[0])
    limit = RateLimit(10, 20)
    assert [limit.wait_seconds("ada") for _ in range(20)] == [0.0] * 20
    assert limit.wait_seconds("ada") == pytest.approx(0.1)
    assert limit.wait_seconds("bob") == 0.0, "each has a bucket of its own"
    now[0] += 0.05
    assert limit.wait_seconds("ada") == pytest.approx(0.05)
    now[0] += 0.05
    assert limit.wait_seconds("ada") == pytest.approx(0.0)
    assert limit.wait_seconds("ada") > 0
    now[0] += 3600
    assert [limit.wait_seconds("ada") for _ in range(20)] == [0.0] * 20
    assert limit.wait_seconds("ada") > 0, "a bucket never holds more than its burst"


def test_buckets_are_bounded_and_the_one_that_asked_longest_ago_goes() -> None:
    limit = RateLimit(0.001, 1, keys=3)
    for key in ("a", "b", "c"):
        assert limit.wait_seconds(key) == 0.0
    assert limit.wait_seconds("a") > 0
    assert limit.wait_seconds("d") == 0.0
    assert limit.wait_seconds("a") > 0, "it asked later than b, which went"
    assert limit.wait_seconds("b") == 0.0
