"""Which of day and month comes first in a file's dates: decided once, from all of them and the month the file names.

What belongs here: the evidence and the decision. What does not: the spellings of a day (``dates``), and reading files
(``sources``).

3/4/2009 is the third of April or the fourth of March, and 13/4/2009 and 4/13/2009 say which. A file that has neither,
or both, is not guessed: the month that the file names decides, or the file is refused with both readings shown.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.domain.dates import SPELLINGS, parse_days
from weather_platform.domain.strays import is_handful

_DAY_FIRST_PADDING: Final = r"^[1-9]/0[1-9]/[0-9]{4}$"
"""1/08/2014, as a spreadsheet of Australia writes it (d/MM/yyyy); with the month first, none pads the day alone."""
_OTHER_PADDING: Final = r"^(0[0-9]/[0-9]{1,2}|[0-9]{1,2}/[1-9])/[0-9]{4}$"


@dataclass(frozen=True, slots=True)
class Reading:
    """A date text of a file, its line, and its day with the day first and with the month first (None: impossible)."""

    text: str
    line: int
    day_first: date | None
    month_first: date | None


class UndecidedOrderError(Exception):
    """The order of day and month cannot be decided; `line` is the first place that shows it, the text says why."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line


class DateOrder:
    """The evidence of one file.

    `month` is the only one that its rows may be of, `hint` one that its name holds; both counted since 1970-01.
    """

    def __init__(self, month: int | None = None, hint: int | None = None) -> None:
        self._month, self._hint = month, hint
        self._in_month = [0, 0]  # rows of the month or of the hint, with the day first and with the month first
        self._dated = 0
        self._padded_as = dict.fromkeys((_DAY_FIRST_PADDING, _OTHER_PADDING), 0)
        self._rows = {"day": 0, "month": 0, "either": 0}
        self._first: dict[str, Reading] = {}

    def add(self, dates: pa.DictionaryArray, lines: NDArray[np.int64]) -> bool:
        """Take in the dates of some rows and their lines; whether any of them depends on the order."""
        distinct = dates.dictionary
        written = pc.match_substring_regex(pc.utf8_trim_whitespace(distinct), SPELLINGS[-1])
        if not pc.any(written, min_count=0).as_py():
            return False
        day_first, month_first = parse_days(distinct), parse_days(distinct, month_first=True)
        has_day, has_month = (_valid(days) for days in (day_first, month_first))
        differ = has_day & has_month & ~_equal(day_first, month_first)
        codes = dates.indices.to_numpy()
        rows = np.bincount(codes, minlength=len(distinct))
        of_kind = {"day": has_day & ~has_month, "month": has_month & ~has_day, "either": differ}
        for kind, chosen in of_kind.items():
            self._rows[kind] += int(rows[chosen].sum())
            if kind not in self._first and chosen.any():
                at = int(np.argmax(chosen[codes]))
                code = int(codes[at])
                self._first[kind] = Reading(
                    distinct[code].as_py(), int(lines[at]), day_first[code].as_py(), month_first[code].as_py()
                )
        slashed = np.asarray(written.to_numpy(zero_copy_only=False), dtype=np.bool_)
        self._dated += int(rows[slashed].sum())
        for pattern in self._padded_as:
            padded = pc.match_substring_regex(pc.utf8_trim_whitespace(distinct), pattern)
            self._padded_as[pattern] += int(rows[np.asarray(padded.to_numpy(zero_copy_only=False))].sum())
        wanted = self._hint if self._month is None else self._month
        if wanted is not None:
            for order, days in enumerate((day_first, month_first)):
                self._in_month[order] += int(rows[slashed & (_months(days) == wanted)].sum())
        return True

    def month_first(self) -> bool:
        """The decision. UndecidedOrderError when the dates allow both orders, or neither."""
        day_rows, month_rows, either_rows = (self._rows[kind] for kind in ("day", "month", "either"))
        if self._month is not None:  # rows outside of it are quarantined whatever the order
            return self._in_month[1] > self._in_month[0]
        if day_rows and month_rows:
            if is_handful(min(day_rows, month_rows), day_rows + month_rows + either_rows):
                return month_rows > day_rows
            day, month = self._first["day"], self._first["month"]
            raise UndecidedOrderError(
                max(day.line, month.line),
                f"{day.text!r} (line {day.line}) has the day first, {day.day_first}, and {month.text!r} (line "
                f"{month.line}) the month first, {month.month_first}; write all days as YYYY-MM-DD",
            )
        if day_rows or month_rows:
            return bool(month_rows)
        if not either_rows:
            return False
        if max(self._in_month) == self._dated > min(self._in_month):  # all of them in one order alone
            return self._in_month[1] == self._dated
        if self._padded_as[_DAY_FIRST_PADDING] and not self._padded_as[_OTHER_PADDING]:
            return False
        first = self._first["either"]
        raise UndecidedOrderError(
            first.line,
            f"{first.text!r} is {first.day_first} with the day first and {first.month_first} with the month first, "
            "and no date of the file shows which; write days as YYYY-MM-DD",
        )


def _valid(days: pa.Array) -> NDArray[Any]:
    return np.asarray(pc.is_valid(days).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _equal(some: pa.Array, others: pa.Array) -> NDArray[Any]:
    same = pc.fill_null(pc.equal(some, others), False)
    return np.asarray(same.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _months(days: pa.Array) -> NDArray[Any]:
    """Months since 1970-01; a number that no file names where there is no day."""
    numbers = pc.fill_null(days.cast(pa.int32()), -(1 << 30)).to_numpy(zero_copy_only=False)
    return np.asarray(numbers).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
