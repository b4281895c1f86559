"""Whether the newest part of each asset is there by the time it is due: for `weather status`, and as notices.

What belongs here: reading what is there from the stores. What does not: the rule (``domain.freshness``).
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime

import pyarrow.compute as pc

from weather_platform.database import Database
from weather_platform.domain.alias_moves import PRODUCTION, serving
from weather_platform.domain.freshness import Late, There, due_month, late_days
from weather_platform.domain.notices import LATE_CAUSE, data_late
from weather_platform.domain.targets import TARGETS
from weather_platform.lake import Lake
from weather_platform.settings import Settings
from weather_platform.stores import open_lake

_OBSERVATIONS, _FEATURES, _DRIFT = "observations", "features", "drift_report"


def late_parts(settings: Settings, database: Database, now: datetime) -> list[Late]:
    """What is late at this moment. An outage of a store raises; nothing is late while nothing is stored."""
    lake = open_lake(settings)
    observed = _newest_day(lake, _OBSERVATIONS)
    if observed is None:
        return []
    versions = {name: serving(database.alias_changes(name, PRODUCTION)) for name in TARGETS}
    served = {name: version for name, version in versions.items() if version is not None}
    daily = {_FEATURES: _newest_day(lake, _FEATURES)}
    daily |= {f"{name}/forecasts": database.newest_forecast_day(name, version) for name, version in served.items()}
    late = list(late_days(There(observed, daily), now, settings.reports_due_hours))
    if len(served) == len(TARGETS):
        late += _late_months(database, due_month(now, observed))
    return late


def note_lateness(database: Database, late: Iterable[Late], now: datetime) -> None:
    """Open a notice for each late asset, and end those of assets that are there again."""
    notices = {notice.cause: notice for notice in (data_late(each, at=now) for each in late)}
    with database.outbox() as outbox:
        for notice in notices.values():
            outbox.open(notice)
        for cause in outbox.open_causes(LATE_CAUSE):
            if cause not in notices:
                outbox.resolve(cause, now)


def _late_months(database: Database, month: str) -> Iterator[Late]:
    if month not in database.drift([month]):
        yield Late(_DRIFT, "an earlier month", month)
    for name in TARGETS:
        if all(record.month != month for record, _ in database.retraining(name)):
            yield Late(f"{name}/retraining", "an earlier month", month)


def _newest_day(lake: Lake, table: str) -> date | None:
    """The newest day with a row; None when there is none."""
    years = [year for year, rows in lake.row_counts(table, "year").items() if rows]
    if not years:
        return None
    newest: date = pc.max(lake.snapshot(table).read(keys=[years[-1]], columns=["day"])["day"]).as_py()
    return newest
