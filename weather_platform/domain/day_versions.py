"""In which version of a table the rows of each day last changed.

What belongs here: the record of one partition, merged, asked and written as text. What does not: comparing rows
(``lake.day_digests``), and where the record is kept (``io_managers.stored``).
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from typing import Self

_DAY = timedelta(days=1)


class DayVersions:
    """The version in which each day last changed; days that never had rows are not in it."""

    def __init__(self, versions: Mapping[date, int]) -> None:
        self._versions = dict(sorted(versions.items()))

    def get(self, day: date) -> int:
        """The version in which this day last changed; -1 when it never had rows."""
        return self._versions.get(day, -1)

    def items(self) -> Iterable[tuple[date, int]]:
        """Every day with its version, ascending by day."""
        return self._versions.items()

    def newest(self, days: Collection[date] | None = None) -> int:
        """The newest version of these days (all of them without an argument); -1 when none ever had rows."""
        asked = self._versions.values() if days is None else map(self.get, days)
        return max(asked, default=-1)

    def oldest(self) -> int:
        """The version that the record began with; -1 when it is empty."""
        return min(self._versions.values(), default=-1)

    def changed_in(self, version: int, days: Iterable[date]) -> Self:
        """The record after these days changed in this version."""
        return type(self)({**self._versions, **dict.fromkeys(days, version)})

    def spans(self) -> list[list[object]]:
        """As plain values: first day, last day, version; neighbouring days of one version share a span."""
        found: list[tuple[date, date, int]] = []
        for day, version in self._versions.items():
            if found and found[-1][2] == version and found[-1][1] + _DAY == day:
                found[-1] = (found[-1][0], day, version)
            else:
                found.append((day, day, version))
        return [[first.isoformat(), last.isoformat(), version] for first, last, version in found]

    @classmethod
    def of_spans(cls, spans: Iterable[Iterable[object]]) -> Self:
        """The record that `spans` wrote."""
        versions: dict[date, int] = {}
        for first, last, version in spans:
            day, end = date.fromisoformat(str(first)), date.fromisoformat(str(last))
            while day <= end:
                versions[day] = int(str(version))
                day += _DAY
        return cls(versions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DayVersions) and self._versions == other._versions

    def __hash__(self) -> int:
        return hash(tuple(self._versions.items()))

    def __repr__(self) -> str:
        return f"DayVersions({self.spans()})"
