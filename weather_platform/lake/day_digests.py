"""Which days of a stored partition differ between two versions of its table.

What belongs here: digests of the rows of each day, read batch by batch. What does not: what is done about a change.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from weather_platform.lake.tables import Snapshot

_EPOCH: Final = date(1970, 1, 1)

DayDigests = dict[date, tuple[int, int]]
"""Of each day, the number of its rows and the sum of their digests: the same in whatever order they are stored."""


def day_digests(snapshot: Snapshot, key: str, columns: Sequence[str]) -> DayDigests:
    """Digests of the rows of one partition, of these columns. A partition that the version lacks has no days.

    A column that the version lacks counts as empty. Rows without a day are left out.
    """
    if key not in snapshot.row_counts():
        return {}
    stored = set(snapshot.schema.names)
    present = [name for name in columns if name in stored]
    found: dict[int, tuple[int, int]] = {}
    for batch in snapshot.stream(keys=[key], columns=[*dict.fromkeys(["day", *present])]):
        for day, rows, total in _sums(batch, columns):
            before = found.get(day, (0, 0))
            found[day] = (before[0] + rows, (before[1] + total) % (1 << 64))
    return {_EPOCH + timedelta(days=day): digest for day, digest in found.items()}


def differing_days(before: DayDigests, after: DayDigests) -> list[date]:
    """The days whose rows are not the same, ascending."""
    return sorted(day for day in before.keys() | after.keys() if before.get(day) != after.get(day))


def _sums(batch: pa.RecordBatch, columns: Sequence[str]) -> list[tuple[int, int, int]]:
    batch = batch.filter(batch["day"].is_valid())
    if not batch.num_rows:
        return []
    missing = pa.nulls(batch.num_rows, pa.float32())
    arrays = [_comparable(batch[name]) if name in batch.schema.names else missing for name in columns]
    frame = pa.RecordBatch.from_arrays(arrays, names=list(columns)).to_pandas()
    digests = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    day = batch["day"].cast(pa.int32()).to_numpy()
    order = np.argsort(day, kind="stable")
    days, starts, counts = np.unique(day[order], return_index=True, return_counts=True)
    sums = np.add.reduceat(digests[order], starts)  # modulo 2**64
    return list(zip(days.tolist(), counts.tolist(), sums.tolist(), strict=True))


def _comparable(values: pa.Array) -> pa.Array:
    """Of one kind whether or not a value is missing: pandas holds whole numbers and flags otherwise then."""
    return values.cast(pa.float64()) if pa.types.is_boolean(values.type) or pa.types.is_integer(values.type) else values
