"""By when the newest part of each asset should be there, and which are late.

What belongs here: the rule, on plain values. What does not: what is there, and who is told.

A part counts by the day or month that it is of, and never by when it was made: an old month that is made again does not
make the newest one any younger. An asset is late for itself alone: what its own source lacks is the source's lateness.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

_DAY: Final = timedelta(days=1)
WORK_HOURS: Final = 2
"""Hours in which what follows from a day's reports should be made."""
MONTH_DAYS: Final = 3
"""Days after the end of a month in which it should be reported on."""


@dataclass(frozen=True, slots=True)
class There:
    """What is there of the assets that have a day for each day of reports."""

    observed: date | None
    """The newest day with a clean report; None when nothing is stored."""
    daily: Mapping[str, date | None] = field(default_factory=dict)
    """Assets made of the observed days, with their newest day."""


@dataclass(frozen=True, slots=True)
class Late:
    """An asset whose newest part is not there although it is due."""

    asset: str
    newest: str
    due: str

    def in_words(self) -> str:
        """One line."""
        return f"{self.asset}: the newest is {self.newest}, and {self.due} is due"


def due_day(now: datetime, hours: int) -> date:
    """The newest day whose reports should be there, so many hours after its end. `now` is local."""
    return (now - timedelta(hours=hours)).date() - _DAY


def due_month(now: datetime, observed: date) -> str:
    """The newest month (YYYY-MM) that should be reported on: it has ended, and it is observed with the day after it."""
    ended = min((now - timedelta(days=MONTH_DAYS)).date(), observed)
    return (ended.replace(day=1) - _DAY).isoformat()[:7]


def late_days(there: There, now: datetime, hours: int) -> Iterator[Late]:
    """The daily assets that are late; nothing while nothing is stored."""
    if there.observed is None:
        return
    due = due_day(now, hours)
    if there.observed < due:
        yield Late("observations", str(there.observed), str(due))
    wanted = min(there.observed, due_day(now, hours + WORK_HOURS))
    for asset, newest in there.daily.items():
        if newest is None or newest < wanted:
            yield Late(asset, str(newest or "none"), str(wanted))
