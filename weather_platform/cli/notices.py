"""`weather notices` and `weather notify`: what people are notified of, and sending it now.

What belongs here: what the two commands print. What does not: who gets which notice and when (``notifications``).
"""

import json
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from zoneinfo import ZoneInfo

import typer
from rich.console import Console

from weather_platform.cli.home import open_instance
from weather_platform.cli.reading import reading_database, require_home
from weather_platform.domain.notices import named
from weather_platform.errors import SettingsError, WeatherError
from weather_platform.settings import Settings
from weather_platform.stores import application_database

_SECONDS = 300.0
"""After so long `weather notify` begins no further message."""


def show_notices(settings: Settings, *, every: bool, as_json: bool) -> None:
    """The open notices, or all of them, the newest first."""
    with reading_database(settings) as database, database.outbox(writing=False) as outbox:
        found = outbox.notices(open_only=not every)
        troubles = outbox.troubles()
    if as_json:
        typer.echo(json.dumps([asdict(notice) for notice in found], default=_text, indent=2))
        return
    if not found:
        typer.echo("there is no notice" if every else "no notice is open")
    console, zone = Console(highlight=False, markup=False), ZoneInfo(settings.timezone)
    for notice in found:
        over = f", over {_moment(notice.resolved_at, zone)}" if notice.resolved_at else ""
        console.print(
            f"{notice.id}  {notice.severity}  {notice.title}  (since {_moment(notice.opened_at, zone)}{over})",
            soft_wrap=True,
        )
        affected = f"; affected: {named(notice.items)}" if len(notice.items) > 1 else ""
        console.print(f"   {notice.text}{affected}", soft_wrap=True)
        console.print(f"   {notice.remedy}; {settings.notify_runbooks_url}/{notice.kind.runbook}", soft_wrap=True)
    for channel, error, messages in troubles:
        typer.echo(f"{messages} messages were not sent to {channel}: {error}", err=True)


def close_notice(settings: Settings, number: int) -> str:
    """Take one notice as over; WeatherError when no open one has this number."""
    with reading_database(settings) as database, database.outbox() as outbox:
        if not outbox.close(number, settings.now()):
            raise WeatherError(f"no open notice has the number {number}; `weather notices` lists them")
    return f"notice {number} is over"


def send_now(settings: Settings, *, retry: bool, expect_daemon: bool) -> None:
    """Send what is due; WeatherError when a channel did not take something."""
    from weather_platform.notifications.sender import send_due

    require_home(settings)
    _require_channels(settings)
    with closing(application_database(settings)) as database:
        database.migrate()
        if retry:
            with database.outbox() as outbox:
                typer.echo(f"{outbox.retry_failed(settings.now())} messages that were given up are tried again")
        if expect_daemon:
            with open_instance(settings) as instance:
                from weather_platform.automation.watchdog import note_automation

                note_automation(instance, database, settings.now(), expect_daemon=True)
        sent = send_due(database, settings, settings.now, seconds=_SECONDS)
        with database.outbox(writing=False) as outbox:
            waiting = outbox.counts().waiting
    typer.echo(f"{sent.messages} messages sent, {waiting} wait for their time")
    if sent.failures:
        said = "; ".join(f"{channel}: {why}" for channel, why in sent.failures.items())
        raise WeatherError(f"not everything was sent, and is tried again later: {said}")


def test_channels(settings: Settings) -> None:
    """Send a test message to each channel; WeatherError when one did not take it."""
    from weather_platform.notifications.channels import ChannelError, send
    from weather_platform.notifications.messages import test_message

    _require_channels(settings)
    message, failed = test_message(settings, settings.now()), []
    for channel in settings.notify_channels:
        try:
            send(channel, message)
        except (ChannelError, SettingsError) as error:
            failed.append(channel.name)
            typer.echo(f"{channel.name}: failed: {error}")
        else:
            typer.echo(f"{channel.name}: sent")
    if failed:
        raise WeatherError(f"{', '.join(failed)} did not take the test message; correct WEATHER_NOTIFY_CHANNELS")


def show_counts(settings: Settings) -> None:
    """A line of `weather status` about notices; none when there is nothing to say."""
    if settings.profile == "embedded" and not (settings.home / "weather.db").exists():
        return
    with reading_database(settings) as database, database.outbox(writing=False) as outbox:
        counts = outbox.counts()
    said = []
    if counts.open_notices:
        said.append(f"{counts.open_notices} open; `weather notices` lists them")
    if counts.failed:
        said.append(f"{counts.failed} messages given up; `weather notify --retry` tries them again")
    if said:
        typer.echo(f"notices {'; '.join(said)}")


def _require_channels(settings: Settings) -> None:
    if not settings.notify_channels:
        raise SettingsError(
            "no channel is set: write WEATHER_NOTIFY_CHANNELS to weather.env in the home; docs/how-to/notifications.md "
            "has an example of each kind"
        )


def _moment(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
