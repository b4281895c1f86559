"""Whether the automation itself works: sensors and schedules whose ticks fail, and a daemon that is silent.

What belongs here: what Dagster recorded of ticks and heartbeats, as notices. What does not: runs (``notices``). The
sensor `send_notices` looks at the others, and `weather notify --expect-daemon` looks from outside of the daemon.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from weather_platform.database import Database
from weather_platform.domain.notices import AUTOMATION_CAUSE, automation_failed

DAEMON: Final = "the daemon"
SILENCE: Final = timedelta(minutes=5)
"""A daemon that gave no sign of life for so long is taken as ended; it gives one every 30 s."""
_TICKS: Final = 3
"""Failed ticks in a row after which a sensor counts as failing: one may fail while a server restarts."""
_RECENT: Final = timedelta(hours=1)
"""A sensor without a tick for so long is switched off or gone."""


def note_automation(
    instance: dg.DagsterInstance, database: Database, now: datetime, *, expect_daemon: bool = False
) -> None:
    """Open a notice for everything that fails, and end those of what works again."""
    failing = dict(_failing(instance, now))
    if expect_daemon and (silent := silence(instance, now)) is not None:
        failing[DAEMON] = silent
    with database.outbox() as outbox:
        for name, said in failing.items():
            outbox.open(automation_failed(what=name, said=said, at=now))
        for cause in outbox.open_causes(AUTOMATION_CAUSE):
            name = cause.removeprefix(AUTOMATION_CAUSE)
            # From inside nothing is said of the daemon: the notice of its silence is ended from where it was opened.
            if name not in failing and (name != DAEMON or expect_daemon):
                outbox.resolve(cause, now)


def _failing(instance: dg.DagsterInstance, now: datetime) -> Iterator[tuple[str, str]]:
    """Sensors of which the last ticks all failed, and schedules of which the last one did, with the kind of error."""
    for state in instance.all_instigator_state():
        if state.status.value == "STOPPED":
            continue
        sensor = state.instigator_type.value == "SENSOR"
        wanted = _TICKS if sensor else 1
        ticks = instance.get_ticks(
            state.instigator_origin_id, state.selector_id, limit=wanted,
            after=(now - _RECENT).timestamp() if sensor else None,
        )  # fmt: skip
        if len(ticks) == wanted and all(tick.status.value == "FAILURE" for tick in ticks):
            error = ticks[0].error
            kind = error.cls_name if error is not None and error.cls_name is not None else "an error"
            yield state.instigator_name, f"{kind} in {wanted} ticks in a row" if sensor else f"{kind} in its last tick"


def silence(instance: dg.DagsterInstance, now: datetime) -> str | None:
    """What is said of a daemon without a recent sign of life; None when there is one."""
    beats = [beat.timestamp for beat in instance.get_daemon_heartbeats().values()]
    if not beats:
        return "it was never started"
    last = datetime.fromtimestamp(max(beats), UTC)
    return None if now - last < SILENCE else f"its last sign of life was on {last:%Y-%m-%d at %H:%M} UTC"
