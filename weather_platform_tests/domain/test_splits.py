from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from weather_platform.domain.splits import (
    Parts,
    Span,
    Split,
    day_date,
    day_number,
    is_fresh,
    is_standing_exam,
    iso_week_number,
    manifest,
    near_standing_exam,
    newest_labelled_day,
    plan_newest_split,
    plan_split,
    split_from_manifest,
    verify_kinds,
    verify_parts,
    verify_split,
)
from weather_platform.errors import InvariantError, NotEnoughDataError

FIRST = date(2007, 11, 1)
DAY = timedelta(days=1)


def _days(first: date, last: date) -> np.ndarray:
    return np.arange(day_number(first), day_number(last) + 1, dtype=np.int32)


def test_a_complete_year_is_tested_whole_after_a_whole_year_of_validation() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    assert split.complete
    assert split.test == Span(date(2015, 1, 1), date(2015, 12, 31))
    assert split.validation == Span(date(2014, 1, 1), date(2014, 12, 30))
    assert split.train == Span(FIRST, date(2013, 12, 30))
    assert split.tuned_through == date(2014, 12, 30)


@pytest.mark.parametrize(
    ("newest", "complete"),
    [(date(2015, 12, 29), False), (date(2015, 12, 30), True), (date(2017, 6, 1), True)],
)
def test_a_year_is_complete_when_observations_reach_its_31_december(newest: date, complete: bool) -> None:
    assert plan_split(2015, FIRST, newest).complete is complete


def test_the_newest_unfinished_year_is_tested_on_its_newest_90_labelled_days() -> None:
    newest = date(2026, 11, 18)
    split = plan_split(2026, FIRST, newest)
    assert not split.complete
    assert (split.test.last, (split.test.last - split.test.first).days + 1) == (newest, 90)
    assert split.validation.first == split.test.first - 365 * DAY
    assert split.validation.last == split.test.first - 2 * DAY
    assert split.train.last == split.validation.first - 2 * DAY


def test_in_january_the_test_days_reach_back_into_the_year_before() -> None:
    assert plan_split(2026, FIRST, date(2026, 1, 5)).test.first == date(2025, 10, 8)


@pytest.mark.parametrize("as_of", [date(2015, 12, 31), date(2015, 6, 30), date(2016, 1, 31), date(2016, 2, 29)])
def test_the_newest_data_are_split_at_any_day_of_the_year(as_of: date) -> None:
    newest = as_of - DAY
    split = plan_newest_split(as_of.year, FIRST, newest, as_of)
    assert (split.kind, split.as_of, split.complete) == ("newest", as_of, False)
    assert split.test == Span(newest - 89 * DAY, newest)
    assert split.validation == Span(split.test.first - 365 * DAY, split.test.first - 2 * DAY)
    assert split.train == Span(FIRST, split.validation.first - 2 * DAY)
    days = _days(FIRST, as_of + 100 * DAY)
    verify_parts(split, days, split.parts(days))
    assert days[split.parts(days).standing_exam].max() <= day_number(newest), "nothing after the day is looked at"


def test_a_newest_split_needs_a_day_of_its_year_labels_of_that_year_and_days_before_them() -> None:
    end_of_june = date(2015, 6, 30)
    for year, newest, as_of in ((2014, end_of_june - DAY, end_of_june), (2015, end_of_june, end_of_june)):
        with pytest.raises(InvariantError, match="the day must be of that year, and labels end before it"):
            plan_newest_split(year, FIRST, newest, as_of)
    with pytest.raises(NotEnoughDataError, match="2016 has no labelled day"):
        plan_newest_split(2016, FIRST, date(2015, 12, 30), date(2016, 1, 31))
    with pytest.raises(NotEnoughDataError, match="no day for train"):
        plan_newest_split(2015, date(2014, 6, 1), date(2015, 6, 29), date(2015, 6, 30))


def test_a_year_without_a_labelled_day_has_no_split() -> None:
    with pytest.raises(InvariantError, match="2016 has no labelled day"):
        plan_split(2016, FIRST, date(2015, 12, 30))


def test_a_year_without_earlier_days_to_train_on_has_no_split() -> None:
    with pytest.raises(InvariantError, match="no day for train"):
        plan_split(2008, FIRST, date(2015, 12, 30))
    assert plan_split(2009, FIRST, date(2015, 12, 30)).train == Span(FIRST, date(2007, 12, 30))


@settings(max_examples=200, deadline=None)
@given(
    first=st.dates(date(1990, 1, 1), date(2020, 1, 1)),
    history=st.integers(500, 4000),
    back=st.integers(0, 8),
)
def test_any_split_is_in_order_without_overlap_with_embargo_and_without_the_exam(
    first: date, history: int, back: int
) -> None:
    newest = first + history * DAY
    year = newest.year - back
    try:
        split = plan_split(year, first, newest)
    except NotEnoughDataError as refusal:
        assume("leaves no day for train" not in str(refusal))
        raise  # with days to train on, no plan is refused
    days = _days(first, newest)
    parts = split.parts(days)
    counts = parts.train.astype(int) + parts.validation + parts.test
    assert counts.max() <= 1
    assert days[parts.train].max(initial=-(10**6)) + 1 < day_number(split.validation.first)
    assert days[parts.validation].max(initial=-(10**6)) + 1 < day_number(split.test.first)
    learnt = set(days[parts.train | parts.validation].tolist())
    exam = days[parts.standing_exam].tolist()
    # Neither the exam's days, nor a day whose label is one of them, nor one that their labels are.
    assert not learnt & {d + step for d in exam for step in (-1, 0, 1)}
    assert days[parts.test].max() <= day_number(newest)
    verify_split(split)


@settings(max_examples=300, deadline=None)
@given(st.dates(date(1900, 1, 1), date(2200, 12, 31)))
def test_iso_weeks_are_those_of_the_calendar(day: date) -> None:
    iso = day.isocalendar()
    assert iso_week_number(np.array([day_number(day)], np.int32))[0] == iso.year * 53 + iso.week


def test_the_standing_exam_is_whole_weeks_a_twentieth_of_all_in_every_season() -> None:
    days = _days(date(2008, 1, 7), date(2025, 12, 28))
    exam = is_standing_exam(days)
    assert 0.045 < exam.mean() < 0.055
    weeks, counts = np.unique(iso_week_number(days[exam]), return_counts=True)
    assert (counts == 7).all()
    assert (weeks % 20 == 7).all()
    months = {day_date(int(d)).month for d in days[exam]}
    assert len(months) == 12


def test_the_standing_exam_of_a_split_crosses_all_its_days_and_no_others() -> None:
    split = plan_split(2014, FIRST, date(2015, 12, 30))
    days = _days(FIRST - 400 * DAY, date(2015, 12, 31))
    inside = (days >= day_number(FIRST)) & (days <= day_number(split.test.last))
    np.testing.assert_array_equal(split.parts(days).standing_exam, is_standing_exam(days) & inside)


def test_the_exam_embargo_is_one_day_on_each_side() -> None:
    days = _days(date(2012, 1, 2), date(2014, 12, 28))
    near, exam = near_standing_exam(days), is_standing_exam(days)
    edges = np.diff(near.astype(int))
    assert near.sum() == exam.sum() + int((edges != 0).sum())
    assert (near | ~exam).all()


def test_the_fresh_exam_holds_only_days_after_both_models() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = _days(date(2014, 12, 1), date(2016, 1, 31))
    assert is_fresh(days, split, date(2013, 12, 30)).sum() == 365
    fresh = days[is_fresh(days, split, date(2015, 6, 30))]
    assert day_date(int(fresh.min())) == date(2015, 7, 2)
    assert not is_fresh(days, split, date(2015, 12, 31)).any()


def test_broken_splits_are_named() -> None:
    good = plan_split(2015, FIRST, date(2015, 12, 30))
    verify_split(good)
    for broken, sentence in (
        (replace(good, train=Span(FIRST, date(2014, 2, 1))), "does not end before"),
        (replace(good, train=Span(FIRST, date(2013, 12, 31))), "no embargo day"),
        (replace(good, validation=Span(date(2014, 1, 1), date(2014, 12, 31))), "no embargo day"),
        (replace(good, validation=Span(date(2014, 1, 2), date(2014, 1, 1))), "no day for validation"),
    ):
        with pytest.raises(InvariantError, match=sentence):
            verify_split(broken)


def _parts(split: Split, days: np.ndarray, **changes: np.ndarray) -> Parts:
    return replace(split.parts(days), **changes)


def test_broken_masks_are_named() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = _days(FIRST, date(2015, 12, 31))
    good = split.parts(days)
    verify_parts(split, days, good)
    none, everything = np.zeros_like(good.train), np.ones_like(good.train)
    for parts, sentence in (
        (_parts(split, days, test=none), "no row in test"),
        (_parts(split, days, train=everything), "outside"),
        (_parts(split, days, train=split.train.contains(days)), "standing exam"),
        (_parts(split, days, validation=split.validation.contains(days)), "standing exam"),
        (_parts(split, days, train=split.train.contains(days) & ~is_standing_exam(days)), "or its embargo"),
    ):
        with pytest.raises(InvariantError, match=sentence):
            verify_parts(split, days, parts)


def test_a_manifest_counts_what_is_there_and_gives_the_split_back() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = np.repeat(_days(FIRST, date(2015, 12, 31)), 2)
    labels = (np.arange(len(days)) % 4 == 0).astype(np.float32)
    labels[::5] = np.nan
    table = manifest(split, days, labels, classification=True, features_lake_version=7)
    assert split_from_manifest(table) == split
    assert set(table["kind"].to_pylist()) == {"complete_year"}
    rows = {row["part"]: row for row in table.to_pylist()}
    assert set(rows) == {"train", "validation", "test", "standing_exam"}
    for part, row in rows.items():
        mask = getattr(split.parts(days), part)
        assert row["rows"] == mask.sum()
        assert row["labelled"] == (mask & ~np.isnan(labels)).sum()
        assert row["positives"] == (labels[mask] == 1).sum()
        assert row["balance"] == pytest.approx(np.nanmean(labels[mask]))
        assert row["features_lake_version"] == 7
    assert rows["test"]["days"] == 365


def test_a_manifest_says_that_it_is_of_the_newest_days_and_an_older_one_is_of_a_year() -> None:
    split = plan_newest_split(2015, FIRST, date(2015, 6, 29), date(2015, 6, 30))
    days = _days(FIRST, date(2015, 12, 31))
    table = manifest(split, days, (days % 2).astype(np.float32), classification=True)
    assert split_from_manifest(table) == split
    assert set(table["kind"].to_pylist()) == {"newest"}
    assert set(table["as_of"].to_pylist()) == {date(2015, 6, 30)}
    old = table.drop_columns(["kind", "as_of"])
    assert split_from_manifest(old) == replace(split, as_of=None)


def test_a_manifest_of_a_regression_target_has_no_positives() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = _days(FIRST, date(2015, 12, 31))
    table = manifest(split, days, np.full(len(days), 21.5, np.float32), classification=False)
    assert {row["positives"] for row in table.to_pylist()} == {None}
    assert {row["balance"] for row in table.to_pylist()} == {21.5}


def test_a_part_without_a_label_is_not_published() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = _days(FIRST, date(2015, 12, 31))
    labels = np.where(split.test.contains(days), np.nan, days % 2).astype(np.float32)
    with pytest.raises(InvariantError, match="no labelled row in test"):
        manifest(split, days, labels, classification=True)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize(("kind", "said"), [(0, "no"), (1, "yes")])
def test_a_part_with_labels_of_one_kind_has_no_split_of_yes_and_no(part: str, kind: int, said: str) -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = _days(FIRST, date(2015, 12, 31))
    inside = getattr(split.parts(days), part)
    labels = np.where(inside, kind, days % 2).astype(np.float32)
    labels[np.flatnonzero(inside)[::3]] = np.nan
    sentence = rf"one kind only in {part} \({getattr(split, part)}\): [\d,]+ times {said}; "
    with pytest.raises(NotEnoughDataError, match=sentence):
        verify_kinds(split, split.parts(days), labels)
    with pytest.raises(NotEnoughDataError, match=sentence):
        manifest(split, days, labels, classification=True)
    assert manifest(split, days, labels, classification=False).num_rows == 4
    labels[np.flatnonzero(inside)[1]] = 1 - kind
    verify_kinds(split, split.parts(days), labels)
    assert manifest(split, days, labels, classification=True).num_rows == 4


def test_a_manifest_with_a_missing_part_or_broken_dates_is_refused() -> None:
    split = plan_split(2015, FIRST, date(2015, 12, 30))
    days = _days(FIRST, date(2015, 12, 31))
    table = manifest(split, days, (days % 2).astype(np.float32), classification=True)
    with pytest.raises(InvariantError, match="no row for train"):
        split_from_manifest(table.slice(1))


def test_the_newest_labelled_day_ignores_days_that_wait_for_tomorrow() -> None:
    days = _days(date(2015, 1, 1), date(2015, 1, 3))
    assert newest_labelled_day(days, np.array([1, 0, np.nan], np.float32)) == date(2015, 1, 2)
    with pytest.raises(InvariantError, match="no row has a label"):
        newest_labelled_day(days, np.full(3, np.nan, np.float32))
