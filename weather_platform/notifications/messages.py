"""Messages: the text that people get, from a notice or from all of a digest.

What, where, since when, what to do, and links. Short enough for every channel: Discord takes 2,000 characters with
the title.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from weather_platform.database.outbox import Delivery, NoticeRecord
from weather_platform.domain.notices import Severity, named, shortened
from weather_platform.settings import Settings

_MOST_LINES: Final = 12
_LINE_CHARACTERS: Final = 110


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, as plain text."""

    title: str
    body: str
    severity: Severity


def message(deliveries: Sequence[Delivery], settings: Settings) -> Message:
    """One delivery with all it says, or a line for each of a digest."""
    zone = ZoneInfo(settings.timezone)
    if deliveries[0].in_digest:
        return _digest(deliveries, zone)
    [delivery] = deliveries
    notice = delivery.notice
    if delivery.phase == "over" and notice.resolved_at is not None:
        body = f"Over since {_moment(notice.resolved_at, zone)}. It began {_moment(notice.opened_at, zone)}."
        return Message(f"Over: {_title(notice)}", f"{body}\n{_links(notice, settings)}", Severity.INFO)
    lines = [notice.text]
    if len(notice.items) > 1:
        lines.append(f"Affected: {named(notice.items)}")
    lines += [
        f"Since: {_moment(notice.opened_at, zone)}",
        f"What to do: {notice.remedy}",
        _links(notice, settings),
    ]
    return Message(_title(notice), "\n".join(lines), notice.severity)


def test_message(settings: Settings, now: datetime) -> Message:
    """What `weather notify --test` sends."""
    zone = ZoneInfo(settings.timezone)
    return Message(
        "weather_platform: a test",
        f"This channel works. Sent by `weather notify --test` on {_moment(now, zone)}.\nNothing is to be done.",
        Severity.INFO,
    )


def _title(notice: NoticeRecord) -> str:
    return f"weather_platform: {shortened(notice.title, 150)} (notice {notice.id})"


def _links(notice: NoticeRecord, settings: Settings) -> str:
    run = [f"Run: {settings.notify_ui_url}/runs/{notice.dagster_run_id}"] if notice.dagster_run_id else []
    return "\n".join([*run, f"Runbook: {settings.notify_runbooks_url}/{notice.kind.runbook}"])


def _digest(deliveries: Sequence[Delivery], zone: tzinfo) -> Message:
    def line(delivery: Delivery) -> str:
        notice, over = delivery.notice, delivery.phase == "over"
        at = notice.resolved_at if over and notice.resolved_at is not None else notice.opened_at
        return f"- {_moment(at, zone)}: {'over: ' if over else ''}{shortened(notice.title, _LINE_CHARACTERS)}"

    lines = [line(delivery) for delivery in deliveries[:_MOST_LINES]]
    if len(deliveries) > _MOST_LINES:
        lines.append(f"and {len(deliveries) - _MOST_LINES} more; `weather notices --all` lists them")
    return Message(f"weather_platform: {len(deliveries)} notices of the day", "\n".join(lines), Severity.INFO)


def _moment(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"
