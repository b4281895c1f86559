"""The sender: makes deliveries of new notices, and sends what is due.

What belongs here: the order of things. What does not: the statements (``database.outbox``), the rules of time
(``domain.notices``). Any number of senders may run at once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from weather_platform.database import Database
from weather_platform.database.outbox import Phase
from weather_platform.domain.notices import Severity, due_at
from weather_platform.errors import SettingsError
from weather_platform.notifications.channels import ChannelError, send
from weather_platform.notifications.messages import message
from weather_platform.settings import Settings


@dataclass(frozen=True, slots=True)
class Sent:
    """What one round did: messages sent, and why others were not, by channel."""

    messages: int
    failures: dict[str, str]


def send_due(database: Database, settings: Settings, now: Callable[[], datetime], *, seconds: float) -> Sent:
    """Send what is due. Begins no message after `seconds`, and leaves a channel alone after its first failure."""
    _route(database, settings, now())
    channels = {channel.name: channel for channel in settings.notify_channels}
    end, count, failures = time.monotonic() + seconds, 0, dict[str, str]()
    while time.monotonic() < end:
        with database.outbox() as outbox:
            claim = outbox.claim(now(), but=failures)
        if claim is None:
            break
        error = None
        try:
            send(channels[claim.channel], message(claim.deliveries, settings))
            count += 1
        except (ChannelError, SettingsError) as refusal:
            error = failures[claim.channel] = str(refusal)
        with database.outbox() as outbox:
            outbox.settle(claim, now(), error)
    return Sent(count, failures)


def _route(database: Database, settings: Settings, now: datetime) -> None:
    """Make the deliveries of every notice that has none yet, by the rules of the channels."""
    local = now.astimezone(ZoneInfo(settings.timezone))
    with database.outbox() as outbox:
        outbox.fail_channels_other_than([channel.name for channel in settings.notify_channels])
        for phase, notice in outbox.unrouted():
            severity = _severity(phase, notice.severity)
            when = due_at(severity, local, settings.quiet_hours, settings.notify_digest_at)
            takers = [each for each in settings.notify_channels if each.takes(notice.kind, notice.severity)]
            outbox.route(notice.id, phase, {each.name: (when, severity is Severity.INFO) for each in takers})


def _severity(phase: Phase, severity: Severity) -> Severity:
    """That something is over wakes nobody."""
    return Severity.WARNING if phase == "over" and severity is Severity.URGENT else severity
