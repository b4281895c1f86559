"""Stray dates: a handful of rows far from all the others, as a mistyped year makes them.

What belongs here: which days of a file, or of a whole source, are strays. What does not: what becomes of their rows.

A stray is apart from the other days by a silence that is unusual for these data: more than a month, and more than ten
times the median distance between two days. Apart by up to a year, at most five rows are strays; beyond a year, fewer
than 28 days are, so that one mistyped month is found too. All strays together are a handful (`is_handful`), else they
are data: a network that paused has more days before long.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SILENT_DAYS: Final = 31
SILENT_TIMES_USUAL: Final = 10
FAR_DAYS: Final = 366
FEW_DAYS: Final = 28
FEW_SHARE: Final = 0.01
HANDFUL_ROWS: Final = 5
HANDFUL_SHARE: Final = 0.1


def is_handful(rows: int, total: int) -> bool:
    """Whether so many rows of all may be mistyped ones: 1 % of them, or five in a small table, and never over 10 %."""
    return rows <= max(FEW_SHARE * total, min(HANDFUL_ROWS, HANDFUL_SHARE * total))


def stray_days(
    days: NDArray[np.int64], rows: NDArray[np.int64], sure: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Which of these days are strays. `days` ascend, `rows` are those of each day; `sure` ones never are."""
    strays = np.zeros(len(days), dtype=np.bool_)
    if len(days) < 2:
        return strays
    gaps = np.diff(days)
    silence = max(SILENT_DAYS, SILENT_TIMES_USUAL * float(np.median(gaps)))
    total, found, first, last = int(rows.sum()), 0, 0, len(days)
    while True:
        silent = np.flatnonzero(gaps[first : last - 1] > silence) + first + 1
        if not len(silent):
            return strays
        oldest, newest = slice(first, int(silent[0])), slice(int(silent[-1]), last)
        for part, gap in sorted(
            ((oldest, gaps[oldest.stop - 1]), (newest, gaps[newest.start - 1])), key=lambda each: rows[each[0]].sum()
        ):
            few = int(rows[part].sum())
            limit_holds = few <= HANDFUL_ROWS or (gap > FAR_DAYS and part.stop - part.start < FEW_DAYS)
            if limit_holds and is_handful(found + few, total) and (sure is None or not sure[part].any()):
                break
        else:
            return strays
        strays[part] = True
        found += few
        first, last = (part.stop, last) if part is oldest else (first, part.start)
