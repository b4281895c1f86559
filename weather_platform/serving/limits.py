"""How often somebody may try: the pause after failed logins, and token buckets.

What belongs here: pure rules and counters of one process. What does not: where failed logins are kept (``database``,
so that all workers count together), or who is asked about (``auth``).
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock
from time import monotonic

from weather_platform.database import FailedLogins

FAILURES_BEFORE_LOCK = 5
LOCK = timedelta(seconds=1)
"""Short: a user at the address of a guesser waits for it too, and a guess a second does not find a password."""

FORGET_AFTER = timedelta(hours=24)
"""Failures of so long ago count no more."""

_CLOCK_SKEW = timedelta(minutes=1)
"""How far the clocks of hosts that share a database may be apart."""


def locked_seconds(failed: FailedLogins | None, now: datetime) -> float:
    """How long logins to the account are still refused unseen; 0 if they are looked at.

    A lock of longer than there are is of a clock that was wrong and was set back since: it would last until that moment
    comes. It holds no more, and the next failure locks anew.
    """
    if failed is None or failed.locked_until is None:
        return 0.0
    left = failed.locked_until - now
    if left > LOCK + _CLOCK_SKEW:
        return 0.0
    return max(0.0, min(left, LOCK) / timedelta(seconds=1))


def after_failure(failed: FailedLogins | None, now: datetime) -> FailedLogins:
    """What is kept after one more failure: from the fifth in a row on a lock."""
    earlier = failed.failures if failed is not None and now - failed.last_failed_at < FORGET_AFTER else 0
    failures = earlier + 1
    locked_until = now + LOCK if failures >= FAILURES_BEFORE_LOCK else None
    return FailedLogins(failures=failures, last_failed_at=now, locked_until=locked_until)


class RateLimit:
    """A token bucket for each key, in this process: `burst` at once, then `per_second` on average.

    Bounded: of more than `keys` keys those that asked longest ago are forgotten, which is in their favour. Threads may
    share it.
    """

    def __init__(self, per_second: float, burst: float, *, keys: int = 10_000) -> None:
        self._per_second, self._burst, self._keys = per_second, max(1.0, burst), keys
        self._buckets: OrderedDict[str, list[float]] = OrderedDict()
        self._lock = Lock()

    def wait_seconds(self, key: str) -> float:
        """Take one; 0 if there was one, else the seconds until there is."""
        with self._lock:
            return self._take(key, monotonic())

    def _take(self, key: str, now: float) -> float:
        bucket = self._buckets.get(key)
        if bucket is None:
            while len(self._buckets) >= self._keys:
                self._buckets.popitem(last=False)
            self._buckets[key] = [self._burst - 1.0, now]
            return 0.0
        left = min(self._burst, bucket[0] + (now - bucket[1]) * self._per_second)
        bucket[1] = now
        self._buckets.move_to_end(key)
        if left < 1.0:
            bucket[0] = left
            return (1.0 - left) / self._per_second
        bucket[0] = left - 1.0
        return 0.0


def network(address: str) -> str:
    """The address whose logins and connections count together: of IPv6 the /64, which one caller has as a whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ip_network((parsed, 64), strict=False))
    return str(parsed)
