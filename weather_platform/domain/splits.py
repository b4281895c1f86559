"""Which days train, validate and test a model, and which days are kept out of all training for ever.

What belongs here: the calendar of a split, its masks over rows, its manifest and its invariants. What does
not: features, models, or how a comparison is judged (`promotion`).

A year is COMPLETE when the observations of the whole table reach its 31 December, or go beyond it: nothing of it is
still to come, be there rows of its last days or not. The label of a day comes from the next day, so that is the case
when the newest labelled day is 30 December of the year or later.

* complete year Y: test = Y, validation = Y-1, train = everything before
* newest, unfinished year: test = the 90 days up to the newest labelled day, validation = the 365 days before
  them, train = everything before
* NEWEST, as of any day of any year: the same parts, from the newest day whose label was known at the end of that day.
  Retraining uses it: waiting for whole years leaves a third of its gain unused on the real table. Comparisons between
  years use complete years

A row of day D borrows its label from D+1, so the last day before each boundary belongs to no part (embargo).
The standing exam is every ISO week with (ISO year x 53 + week) % 20 == 7; its days and one day on each side
are left out of training and validation of every model.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from weather_platform.errors import InvariantError, NotEnoughDataError

UNFINISHED_TEST_DAYS = 90
"""Test days of the newest, unfinished year: a season, enough for about 4,000 rows of 49 stations."""

UNFINISHED_VALIDATION_DAYS = 365
"""Validation days of the newest, unfinished year: all seasons, so that one threshold serves them all."""

EXAM_CYCLE_WEEKS, EXAM_REMAINDER = 20, 7
"""One week in 20 (5 %) is the standing exam. 20 does not divide a year, so the weeks wander through the seasons."""

ISO_YEAR_STRIDE = 53
"""Running number of a week = ISO year x 53 + week: unique, as an ISO year has at most 53 weeks."""

_DAY = timedelta(days=1)
_EPOCH = date(1970, 1, 1)

Mask = NDArray[np.bool_]

SplitKind = Literal["complete_year", "newest"]
"""A test year, or the newest days as of a day."""


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def day_date(number: int) -> date:
    """The date of a day number."""
    return _EPOCH + timedelta(days=int(number))


@dataclass(frozen=True, slots=True)
class Span:
    """A run of days, both ends inclusive."""

    first: date
    last: date

    def contains(self, days: NDArray[np.int32]) -> Mask:
        """Which of the day numbers lie inside."""
        return (days >= day_number(self.first)) & (days <= day_number(self.last))

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@dataclass(frozen=True, slots=True)
class Parts:
    """Row masks of one split. The standing exam crosses the spans; train and validation never touch it."""

    train: Mask
    validation: Mask
    test: Mask
    standing_exam: Mask


@dataclass(frozen=True, slots=True)
class Split:
    """The three spans of one test year, or of the newest days in it."""

    year: int
    complete: bool
    train: Span
    validation: Span
    test: Span
    as_of: date | None = None
    """Of a newest split, the last day of observations that it knows; None for the split of a year."""

    @property
    def kind(self) -> SplitKind:
        """Which rule made it."""
        return "complete_year" if self.as_of is None else "newest"

    @property
    def tuned_through(self) -> date:
        """The last day whose label had any say in the model: training, early stopping, calibration, threshold."""
        return self.validation.last

    def parts(self, days: NDArray[np.int32]) -> Parts:
        """The masks of these day numbers. Labels are not looked at: unlabelled rows are masked by the caller."""
        outside_exam = ~near_standing_exam(days)
        return Parts(
            train=self.train.contains(days) & outside_exam,
            validation=self.validation.contains(days) & outside_exam,
            test=self.test.contains(days),
            standing_exam=Span(self.train.first, self.test.last).contains(days) & is_standing_exam(days),
        )


def plan_split(year: int, first_day: date, newest_labelled_day: date) -> Split:
    """The split of one test year, from nothing but dates.

    ``first_day`` is the oldest day of the table, ``newest_labelled_day`` the newest day of the whole table with any
    label, days after the year included: they make the year a complete one. NotEnoughDataError when the year has no
    labelled day or when the days before it do not suffice.
    """
    _require_labels_of(year, newest_labelled_day)
    test, validation_first = _test_and_validation(year, newest_labelled_day)
    return _verified(year, _is_complete(year, newest_labelled_day), first_day, validation_first, test, None)


def plan_newest_split(year: int, first_day: date, newest_labelled_day: date, as_of: date) -> Split:
    """The split of the newest days as of a day of the year, from nothing but dates.

    ``newest_labelled_day`` is the newest day with any label of those before ``as_of``, whose own label is of a day
    later. NotEnoughDataError when it is of an earlier year or when the days before it do not suffice.
    """
    if as_of.year != year or newest_labelled_day >= as_of:
        raise InvariantError(
            f"the newest split of {year} as of {as_of} with labels up to {newest_labelled_day}: the day must be of "
            "that year, and labels end before it; split the year of the day"
        )
    _require_labels_of(year, newest_labelled_day)
    test, validation_first = _newest_test_and_validation(newest_labelled_day)
    return _verified(year, False, first_day, validation_first, test, as_of)


def days_needed(year: int, newest_labelled_day: date) -> int:
    """How many days of observations a test year needs at least, up to the one that labels its newest day.

    One to train on, and those of validation, test and the embargo: 458 for an unfinished year.
    """
    _, validation_first = _test_and_validation(year, newest_labelled_day)
    return (newest_labelled_day + _DAY - (validation_first - 2 * _DAY)).days + 1


def _require_labels_of(year: int, newest_labelled_day: date) -> None:
    if newest_labelled_day < date(year, 1, 1):
        raise NotEnoughDataError(
            f"{year} has no labelled day (the newest is {newest_labelled_day}); "
            "materialise the observations of that year first"
        )


def _verified(
    year: int, complete: bool, first_day: date, validation_first: date, test: Span, as_of: date | None
) -> Split:
    split = Split(
        year=year,
        complete=complete,
        train=Span(first_day, validation_first - 2 * _DAY),  # minus the embargo day before the boundary
        validation=Span(validation_first, test.first - 2 * _DAY),
        test=test,
        as_of=as_of,
    )
    verify_split(split)
    return split


def _is_complete(year: int, newest_labelled_day: date) -> bool:
    return newest_labelled_day >= date(year, 12, 30)


def _test_and_validation(year: int, newest_labelled_day: date) -> tuple[Span, date]:
    """The test days, and the first day of validation."""
    if _is_complete(year, newest_labelled_day):
        return Span(date(year, 1, 1), date(year, 12, 31)), date(year - 1, 1, 1)
    return _newest_test_and_validation(newest_labelled_day)


def _newest_test_and_validation(newest_labelled_day: date) -> tuple[Span, date]:
    test = Span(newest_labelled_day - (UNFINISHED_TEST_DAYS - 1) * _DAY, newest_labelled_day)
    return test, test.first - UNFINISHED_VALIDATION_DAYS * _DAY


def verify_split(split: Split) -> None:
    """The promises a split makes by its dates alone; InvariantError names the first one broken."""
    name = f"the split of {split.year}"
    for part, span in _spans(split):
        if span.first > span.last:
            raise NotEnoughDataError(
                f"{name} leaves no day for {part}: it would have to end on {span.last}, and the observations begin "
                f"on {span.first}; begin with earlier ones or take a later year"
            )
    for (before, earlier), (after, later) in pairwise(_spans(split)):
        if earlier.last >= later.first:
            raise InvariantError(f"{name}: {before} ({earlier}) does not end before {after} ({later}) begins")
        if (later.first - earlier.last).days < 2:
            raise InvariantError(
                f"{name} has no embargo day between {before} ({earlier}) and {after} ({later}), "
                f"so a label of {before} would come from {after}"
            )


def verify_parts(split: Split, days: NDArray[np.int32], parts: Parts) -> None:
    """The promises of the rows themselves: right span, exam left out, no part empty."""
    verify_split(split)
    name = f"the split of {split.year}"
    masks = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    for (part, span), mask in zip(_spans(split), masks.values(), strict=True):
        if not mask.any():
            raise NotEnoughDataError(f"{name} has no row in {part} ({span}); materialise the features of those years")
        if not span.contains(days[mask]).all():
            raise InvariantError(f"{name}: a row of {part} lies outside {span}")
    if near_standing_exam(days[parts.train | parts.validation]).any():
        raise InvariantError(f"{name}: a row of the standing exam (or its embargo) is in training or validation")


def verify_kinds(split: Split, parts: Parts, labels: NDArray[np.float32]) -> None:
    """The promise of yes/no labels: both kinds in every part. NaN is no label; NotEnoughDataError names the part.

    Nothing is learnt from one kind, and no threshold and no metric means anything there.
    """
    for part, span in _spans(split):
        known = labels[getattr(parts, part) & ~np.isnan(labels)]
        if (known == known[:1]).all():
            kind = "yes" if known.any() else "no"
            raise NotEnoughDataError(
                f"the split of {split.year} has labels of one kind only in {part} ({span}): {len(known):,} times "
                f"{kind}; observe more stations, begin with earlier observations or take a later year"
            )


def iso_week_number(days: NDArray[np.int32]) -> NDArray[np.int64]:
    """ISO year x 53 + ISO week of each day number: the week belongs to the year of its Thursday."""
    number = np.asarray(days, dtype=np.int64)
    thursday = number - (number + 3) % 7 + 3  # 1970-01-01 was a Thursday, so Monday is weekday 0
    year = thursday.astype("datetime64[D]").astype("datetime64[Y]")
    week = (thursday - year.astype("datetime64[D]").astype(np.int64)) // 7 + 1
    return (year.astype(np.int64) + 1970) * ISO_YEAR_STRIDE + week


def is_standing_exam(days: NDArray[np.int32]) -> Mask:
    """Which day numbers lie in a week of the standing exam."""
    return np.asarray(iso_week_number(days) % EXAM_CYCLE_WEEKS == EXAM_REMAINDER)


def near_standing_exam(days: NDArray[np.int32]) -> Mask:
    """The standing exam with its embargo: one day on each side."""
    number = np.asarray(days, dtype=np.int32)
    return is_standing_exam(number - 1) | is_standing_exam(number) | is_standing_exam(number + 1)


def is_fresh(days: NDArray[np.int32], split: Split, champion_tuned_through: date) -> Mask:
    """The fresh exam: test rows that neither the challenger nor the champion was trained, validated or tuned
    on.

    The label of the champion's last tuning day is the first fresh day's observation, hence one embargo day.
    """
    return split.test.contains(days) & (days > day_number(champion_tuned_through) + 1)


MANIFEST_SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("year", pa.string(), nullable=False),  # partition: the test year
        pa.field("part", pa.string(), nullable=False),
        pa.field("first_day", pa.date32(), nullable=False),
        pa.field("last_day", pa.date32(), nullable=False),
        pa.field("complete", pa.bool_(), nullable=False),  # whether the test year is complete
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("labelled", pa.int64(), nullable=False),
        pa.field("days", pa.int64(), nullable=False),  # distinct days with a labelled row
        pa.field("positives", pa.int64()),  # labels equal to 1; null for a regression target
        pa.field("balance", pa.float64()),  # mean label: the share of positives, or the mean value; null without labels
        pa.field("features_lake_version", pa.int64()),  # version of the features table the counts are of
        pa.field("kind", pa.string()),  # complete_year or newest; null in manifests of earlier versions: complete_year
        pa.field("as_of", pa.date32()),  # of a newest split: the last day of observations that it knows
    ]
)
"""One row per part: `train`, `validation`, `test` and `standing_exam`. Dates and counts, never rows.

A year that cannot be split, for want of data in it or before it, has a manifest without rows."""


def manifest(
    split: Split,
    days: NDArray[np.int32],
    labels: NDArray[np.float32],
    *,
    classification: bool,
    features_lake_version: int | None = None,
) -> pa.Table:
    """The split as it is stored, with what it holds. Raises before anything is stored when an invariant is broken."""
    parts = split.parts(days)
    verify_parts(split, days, parts)
    known = ~np.isnan(labels)
    spans = dict(_spans(split)) | {"standing_exam": Span(split.train.first, split.test.last)}
    rows = []
    for part, span in spans.items():
        mask: Mask = getattr(parts, part)
        inside = labels[mask & known]
        rows.append(
            {
                "year": str(split.year),
                "part": part,
                "first_day": span.first,
                "last_day": span.last,
                "complete": split.complete,
                "rows": int(np.count_nonzero(mask)),
                "labelled": len(inside),
                "days": len(np.unique(days[mask & known])),
                "positives": int(np.count_nonzero(inside == 1)) if classification else None,
                "balance": float(inside.mean(dtype=np.float64)) if len(inside) else None,
                "features_lake_version": features_lake_version,
                "kind": split.kind,
                "as_of": split.as_of,
            }
        )
        if part != "standing_exam" and not len(inside):
            raise NotEnoughDataError(f"the split of {split.year} has no labelled row in {part} ({span})")
    if classification:
        verify_kinds(split, parts, labels)
    return pa.Table.from_pylist(rows, schema=MANIFEST_SCHEMA)


def split_from_manifest(table: pa.Table) -> Split:
    """The split back from its stored manifest, verified."""
    rows = {row["part"]: row for row in table.to_pylist()}
    if missing := [part for part in ("train", "validation", "test") if part not in rows]:
        raise InvariantError(f"the split manifest has no row for {', '.join(missing)}; materialise the split again")
    test = rows["test"]
    split = Split(
        year=int(test["year"]),
        complete=test["complete"],
        train=_span(rows["train"]),
        validation=_span(rows["validation"]),
        test=_span(test),
        as_of=test.get("as_of"),  # an earlier version of the table has no such column
    )
    verify_split(split)
    return split


def _span(row: dict[str, date]) -> Span:
    return Span(row["first_day"], row["last_day"])


def _spans(split: Split) -> list[tuple[str, Span]]:
    return [("train", split.train), ("validation", split.validation), ("test", split.test)]


def newest_labelled_day(days: NDArray[np.int32], labels: NDArray[np.float32]) -> date:
    """The newest day with a label; NotEnoughDataError when there is none."""
    known = ~np.isnan(labels)
    if not known.any():
        raise NotEnoughDataError("no row has a label yet; a label needs two consecutive days of one station")
    return day_date(int(days[known].max()))
