"""What a downloaded file says about its issue: the month it is of, and when it was prepared.

What belongs here: reading that from the lines above the header and from the file's name. What does not: whether a row
is of that month (``csv_files``), and which of two issues wins (``dbt_project``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ZONE_HOURS: Final = {
    "": 0, "UTC": 0, "GMT": 0, "Z": 0, "AWST": 8, "WST": 8, "ACST": 9.5, "CST": 9.5, "ACDT": 10.5, "CDT": 10.5,
    "AEST": 10, "EST": 10, "AEDT": 11, "EDT": 11,
}  # fmt: skip
"""Hours ahead of UTC of the zones that the Bureau writes; without one it is UTC."""

_TITLE: Final = re.compile(r"Daily Weather Observations\b.*\bfor\s+([A-Za-z]+)\s+([0-9]{4})\b", re.IGNORECASE)
_PREPARED: Final = re.compile(
    r"Prepared at\s+(?P<hour>[0-9]{1,2})[:.](?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2}))?\s*(?P<half>[ap]m)?"
    r"\s*(?P<zone>[A-Z]*)\s+on\s+(?:[A-Za-z]+,?\s+)?(?P<day>[0-9]{1,2})\s+(?P<month>[A-Za-z]+)\s+(?P<year>[0-9]{4})\b",
    re.IGNORECASE,
)
_PRODUCT_MONTH: Final = re.compile(r"IDCJDW[0-9]{4}\.([0-9]{4})(0[1-9]|1[0-2])(?![0-9])", re.IGNORECASE)
_ANY_MONTH: Final = re.compile(r"(?<![0-9])([0-9]{4})[-_. ]?(0[1-9]|1[0-2])(?![0-9]|[-_.][0-9]{1,2}(?![0-9]))")


@dataclass(frozen=True, slots=True)
class Issue:
    """What is known of a file. Months are counted since 1970-01.

    `month` is the only one that its rows may be of; `hint` is a month in the name of a file of any layout, which
    decides the order of dates and nothing else.
    """

    month: int | None = None
    hint: int | None = None
    prepared_at: datetime | None = None


def issue_of(lines: Sequence[str], file_name: str) -> Issue:
    """Read the lines above the header: title, then the product's month, then the file's name."""
    prepared = next((found for line in lines if (found := _PREPARED.search(line))), None)
    titled = next((found for line in lines if (found := _TITLE.search(line))), None)
    month = _index(titled[2], _month_number(titled[1])) if titled else None
    for text in (*(line for line in lines if "prepared at" in line.lower()), file_name):
        if month is None and (product := _PRODUCT_MONTH.search(text)):
            month = _index(product[1], int(product[2]))
    named = set(_ANY_MONTH.findall(file_name))
    hint = None
    if len(named) == 1:
        [(year, number)] = named
        hint = _index(year, int(number))
    return Issue(month, month if month is not None else hint, _moment(prepared) if prepared else None)


def _moment(said: re.Match[str]) -> datetime | None:
    """The moment as UTC; None when it cannot be."""
    hours = _ZONE_HOURS.get(said["zone"].upper())
    month = _month_number(said["month"])
    if hours is None or month is None:
        return None
    hour = int(said["hour"])
    if said["half"]:
        hour = hour % 12 + (12 if said["half"].lower() == "pm" else 0)
    zone = timezone(timedelta(hours=hours))
    try:
        moment = datetime(
            int(said["year"]), month, int(said["day"]), hour, int(said["minute"]), int(said["second"] or 0), tzinfo=zone
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _month_number(name: str) -> int | None:
    short = name[:3].lower()
    return _MONTHS.index(short) + 1 if short in _MONTHS else None


def _index(year: str, month: int | None) -> int | None:
    return (int(year) - 1970) * 12 + month - 1 if month is not None else None
