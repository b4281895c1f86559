"""Answers of the endpoint for tests of what becomes of them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from weather_platform.database import LoggedForecast

NOON = datetime(2015, 6, 1, 2, 0, 0, 123456, tzinfo=UTC)


def answer(number: int = 0, **changes: Any) -> LoggedForecast:
    """The answer to one request, which bears this number."""
    values: dict[str, Any] = {
        "request_id": f"request-{number}",
        "at": NOON + timedelta(milliseconds=number),
        "subject": "ada",
        "route": "/v1/predict",
        "target": "rain_tomorrow",
        "station": "Hobart",
        "day": date(2015, 6, 1),
        "model_version": 3,
        "model_digest": "a" * 64,
        "features_sha256": f"{number:016x}",
        "value": 0.1 + 0.2,
        "seconds": 0.0004,
    }
    return LoggedForecast(**(values | changes))


def answers(count: int, first: int = 0) -> list[LoggedForecast]:
    """The answers to so many requests, numbered from `first`."""
    return [answer(number) for number in range(first, first + count)]


class Told:
    """Keeps what the prediction log tells its listener."""

    def __init__(self) -> None:
        self.depths: list[int] = []
        self.written = self.dropped = self.lost = self.failures = 0

    def log_depth(self, rows: int) -> None:
        self.depths.append(rows)

    def log_written(self, rows: int) -> None:
        self.written += rows

    def log_dropped(self, rows: int) -> None:
        self.dropped += rows

    def log_lost(self, rows: int) -> None:
        self.lost += rows

    def log_write_failed(self) -> None:
        self.failures += 1
