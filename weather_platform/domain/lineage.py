"""Whether a stored row is still the row that something was made from.

What belongs here: comparing two states of one row, and saying it. What does not: finding rows (``cli.lineage``).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

Row = Mapping[str, object]

_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Trace:
    """One row of a table as it was when it was used, and as it is now; None where there is no such row.

    ``then_version`` is None when nobody recorded which version was read, or when it can no longer be read.
    """

    table: str
    then_version: int | None
    newest_version: int
    then: Row | None
    now: Row | None

    @property
    def row(self) -> Row | None:
        """The row that was used, else the present one."""
        return self.now if self.then_version is None else self.then

    @property
    def version(self) -> int:
        """The version that `row` is of."""
        return self.newest_version if self.then_version is None else self.then_version

    def since(self) -> str:
        """What became of the row since it was used, in a few words."""
        if self.then_version is None:
            return "the version that was read then is not recorded or was vacuumed: this is the newest"
        if self.then is None:
            return "not there then"
        if self.now is None:
            return f"taken back since: version {self.newest_version} does not have it"
        changed = changed_values(self.then, self.now)
        if not changed:
            return "unchanged since"
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        return f"changed since, in version {self.newest_version}: {', '.join(changed[:_SHOWN])}{more}"


def changed_values(then: Row, now: Row) -> list[str]:
    """Each column that holds something else now, with both values; missing equals missing."""
    names = list(dict.fromkeys([*then, *now]))
    return [f"{name} {then.get(name)} -> {now.get(name)}" for name in names if not _same(then.get(name), now.get(name))]


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other):
        return True
    return one == other
