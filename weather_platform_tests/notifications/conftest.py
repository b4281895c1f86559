"""A migrated database in SQLite, a clock that stands until it is moved, and settings with channels."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from weather_platform.database import Database
from weather_platform.domain.notices import Notice, NoticeKind, Severity
from weather_platform.settings import Settings, load_settings
from weather_platform_tests.databases import migrated

NOON = datetime(2015, 6, 1, 2, 0, tzinfo=UTC)
"""Noon in Sydney."""

Channels = Callable[..., Settings]


@dataclass
class Clock:
    """A clock that goes on only when it is moved."""

    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WEATHER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    opened = migrated(home / "weather.db")
    yield opened
    opened.close()


@pytest.fixture
def channels(home: Path) -> Channels:
    """Settings with one channel for each name=address; an address may come with more fields, as a dict."""

    def made(more: dict[str, Any] | None = None, **named: Any) -> Settings:
        listed = [{"name": name} | (each if isinstance(each, dict) else {"url": each}) for name, each in named.items()]
        return load_settings(notify_channels=json.dumps(listed), **(more or {}))

    return made


def notice(cause: str = "run failed: features: LakeError", **changes: Any) -> Notice:
    """A notice of a failed run, but for these changes."""
    values: dict[str, Any] = {
        "kind": NoticeKind.RUN_FAILED,
        "severity": Severity.WARNING,
        "cause": cause,
        "title": "features failed",
        "text": "LakeError in features, job process, for 2014",
        "remedy": "open the run",
        "dagster_run_id": "run-1",
        "items": ("2014",),
        "opened_at": NOON,
    }
    return Notice(**(values | changes))


def opened(database: Database, *notices: Notice) -> None:
    """Write these notices."""
    for each in notices:
        with database.outbox() as outbox:
            outbox.open(each)
