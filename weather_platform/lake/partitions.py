"""Lazy mappings from partition key to Arrow table: a range of partitions is never held in memory at once.

What belongs here: the shapes in which assets take and give a range. What does not: which keys an asset
needs or may do without (``io_managers``).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import TypeVar

from weather_platform.lake.tables import Lake, Snapshot

T = TypeVar("T", default=pa.Table)
"""What a partition is made of. Dagster takes no subscripted class as a type: annotate with the bare one."""


class TablePartitions(Mapping[str, pa.Table]):
    """Some partitions of one lake table, as they were when this view was made.

    The keys are those requested that exist, in ascending order; `view[key]` reads that partition only,
    `view.table()` reads all in one scan. Every read comes from one and the same version of the table.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        keys: Iterable[str],
        *,
        columns: tuple[str, ...] | None = None,
        where: pc.Expression | None = None,
    ) -> None:
        counts = snapshot.row_counts()
        self._snapshot = snapshot
        self._rows = {key: counts[key] for key in sorted(set(keys)) if key in counts}
        self._columns = columns
        self._where = where

    @classmethod
    def of(cls, lake: Lake, table: str, keys: Iterable[str], version: int | None = None) -> Self:
        """A view of the newest version of a table, or of an older one."""
        return cls(lake.snapshot(table, version), keys)

    @property
    def name(self) -> str:
        """The name of the table."""
        return self._snapshot.table

    @property
    def stored_span(self) -> tuple[str, str]:
        """The first and the last partition of the whole table, whether requested or not."""
        stored = self._snapshot.row_counts()
        return min(stored), max(stored)

    @property
    def version(self) -> int:
        """The version of the table that every read comes from."""
        return self._snapshot.version

    @property
    def row_counts(self) -> Mapping[str, int]:
        """Stored rows per key (before any `where`), from the log alone."""
        return dict(self._rows)

    @property
    def schema(self) -> pa.Schema:
        """The schema of the tables this view gives."""
        schema = self._snapshot.schema
        return schema if self._columns is None else pa.schema([schema.field(name) for name in self._columns])

    def only(self, keys: Iterable[str]) -> "TablePartitions":
        """The same view of these partitions only; keys it does not have are left out."""
        kept = [key for key in keys if key in self._rows]
        return TablePartitions(self._snapshot, kept, columns=self._columns, where=self._where)

    def up_to(self, key: str) -> "TablePartitions":
        """The same view of the partitions up to and including this key, in the order of keys."""
        return self.only(present for present in self._rows if present <= key)

    def whole(self) -> "TablePartitions":
        """The same view of every stored partition of the table, whether requested or not."""
        return TablePartitions(self._snapshot, self._snapshot.row_counts(), columns=self._columns, where=self._where)

    def select(self, columns: Iterable[str]) -> "TablePartitions":
        """The same partitions with these columns only."""
        return TablePartitions(self._snapshot, self._rows, columns=tuple(columns), where=self._where)

    def where(self, condition: pc.Expression) -> "TablePartitions":
        """The same partitions with the rows that meet this condition too."""
        both = condition if self._where is None else self._where & condition
        return TablePartitions(self._snapshot, self._rows, columns=self._columns, where=both)

    def reader(self) -> pa.RecordBatchReader:
        """All rows as a stream in the order of partitions: one scan, a few batches in memory."""
        return self._snapshot.stream(keys=self._rows, columns=self._columns, where=self._where)

    def table(self) -> pa.Table:
        """All rows of the view in one table, ordered by partition."""
        return self._snapshot.read(keys=self._rows, columns=self._columns, where=self._where)

    def __getitem__(self, key: str) -> pa.Table:
        if key not in self._rows:
            raise KeyError(key)
        return self._snapshot.read(keys=[key], columns=self._columns, where=self._where)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"TablePartitions({self._snapshot.table!r}, version={self.version}, keys={list(self._rows)})"


class CoveredPartitions(TablePartitions):
    """What an asset takes that passes over the partitions before the start and after the end of this table.

    The IO manager gives it although nothing is there in their time, and still raises for a hole: the asset must ask
    `passed_over` and store nothing of these, or reach a result that says that there is no data.
    """

    def passed_over(self, keys: Iterable[str]) -> dict[str, str]:
        """Those of these partitions in whose time the table has none, each with the reason why it is passed over.

        Keys that share time begin alike, a year (2015) as its months and days (2015-06).
        """
        first, last = self.stored_span
        return {
            key: f"{key} is passed over: {self.name} holds {first} to {last}"
            for key in keys
            if not any(stored.startswith(key) or key.startswith(stored) for stored in self)
        }


class ComputedPartitions(Mapping[str, T]):
    """Partitions made when they are asked for: what a range asset returns instead of all of them at once.

    Iterating over the items computes each key once and keeps none of them; asking for a key again computes
    it again. Partitions of the run that are `passed_over` are not among the keys, and stay as they are stored.
    """

    def __init__(self, keys: Iterable[str], compute: Callable[[str], T], passed_over: Iterable[str] = ()) -> None:
        self.passed_over = frozenset(passed_over)
        self._keys = tuple(key for key in keys if key not in self.passed_over)
        self._compute = compute

    def __getitem__(self, key: str) -> T:
        if key not in self._keys:
            raise KeyError(key)
        return self._compute(key)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
