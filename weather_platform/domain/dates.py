"""The one reading of a date in a raw row: text to calendar day.

What belongs here: which spellings of a day are understood. What does not: whether a day is plausible for a
row (before the first month, in the future); that is the dbt project's judgement.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

SPELLINGS: tuple[str, ...] = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})$",
    r"^(?P<year>[0-9]{4})/(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})$",
    r"^(?P<day>[0-9]{1,2})/(?P<month>[0-9]{1,2})/(?P<year>[0-9]{4})$",
)
"""2007-11-01 or 2007-11-1, 2007/11/01, and day first 1/11/2007. Nothing else is a day."""
MONTH_FIRST_SPELLINGS: tuple[str, ...] = (
    *SPELLINGS[:2],
    r"^(?P<month>[0-9]{1,2})/(?P<day>[0-9]{1,2})/(?P<year>[0-9]{4})$",
)
"""The same for a file whose dates have the month first: 11/1/2007."""


def parse_days(text: pa.Array | pa.ChunkedArray, *, month_first: bool = False) -> pa.Array:
    """The calendar day of every text as date32; null where it is none of the spellings or an impossible date.

    `month_first` reads 11/1/2007 as the first of November; the order is decided once a file
    (``domain.date_order``). White space around the text is ignored. Each distinct text is read once, so the cost
    hardly grows with rows.
    """
    if pa.types.is_null(text.type):
        return pa.nulls(len(text), pa.date32())
    array = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    if pa.types.is_dictionary(array.type):
        return parse_days(array.dictionary.cast(pa.string()), month_first=month_first).take(array.indices)
    encoded = array.cast(pa.string()).dictionary_encode()
    spellings = MONTH_FIRST_SPELLINGS if month_first else SPELLINGS
    return _parse_distinct(encoded.dictionary, spellings).take(encoded.indices)


def is_day(text: str) -> bool:
    """Whether a text is one of the spellings of a day that exists, in either order of day and month."""
    array = pa.array([text], pa.string())
    return any(parse_days(array, month_first=order).null_count == 0 for order in (False, True))


def _parse_distinct(text: pa.Array, spellings: tuple[str, ...]) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(text)
    days = np.zeros(len(text), dtype="datetime64[D]")
    known = np.zeros(len(text), dtype=np.bool_)
    for spelling in spellings:
        parts = pc.extract_regex(trimmed, pattern=spelling)
        matched = np.asarray(pc.is_valid(parts).to_numpy(zero_copy_only=False), dtype=np.bool_)
        if not matched.any():
            continue
        found = parts.filter(pa.array(matched))
        days[matched], known[matched] = _calendar_days(
            *(found.field(part).cast(pa.int32()).to_numpy(zero_copy_only=False) for part in ("year", "month", "day"))
        )
    return pa.array(days, mask=~known, type=pa.date32())


def _calendar_days(
    year: NDArray[np.int32], month: NDArray[np.int32], day: NDArray[np.int32]
) -> tuple[NDArray[np.datetime64], NDArray[np.bool_]]:
    """Days and whether they exist: 2015-02-30 runs over into March and so does not."""
    months = ((year.astype(np.int64) - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]") + (day.astype(np.int64) - 1).astype("timedelta64[D]")
    exists = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (days.astype("datetime64[M]") == months)
    return days, np.asarray(exists, dtype=np.bool_)
