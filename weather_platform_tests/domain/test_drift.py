"""Which rows a month is compared with, how far is far, and what the distances say."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from numpy.typing import NDArray

from weather_platform.domain.drift import (
    LEAST_DAYS,
    MOST_ROWS,
    MOST_STATIONS,
    TIMES_USUAL,
    Usual,
    Watch,
    WatchedColumn,
    WatchedRows,
    sampled_stations,
)
from weather_platform.errors import InvariantError
from weather_platform_tests.domain.drifting import (
    LEARNED_THROUGH,
    SEED,
    STATIONS,
    in_month,
    judged,
    judged_by,
    watched_rows,
)

MONTH = "2014-07"


def changed(
    rows: WatchedRows, month: str, change: Callable[[NDArray[np.float32]], object], *, columns: int | None = None
) -> WatchedRows:
    """The rows with the first columns of a month changed in place."""
    values = rows.values.copy()
    here = np.flatnonzero(in_month(rows, month))
    part = values[here, :columns]
    change(part)
    values[here, :columns] = part
    return replace(rows, values=values)


def without(rows: WatchedRows, gone: NDArray[np.bool_]) -> WatchedRows:
    kept = ~gone
    return replace(rows, station_index=rows.station_index[kept], day=rows.day[kept], values=rows.values[kept])


@pytest.mark.parametrize(("columns", "share"), [(0, 0.0), (5, 0.25), (20, 1.0)])
def test_injected_drift_of_a_share_of_the_columns_gives_that_share(columns: int, share: float) -> None:
    rows = changed(watched_rows(), MONTH, lambda values: np.add(values, 3.0, out=values), columns=columns)
    verdict = judged(rows, MONTH)
    assert verdict.share == share
    assert verdict.status == ("drift" if columns else "none")
    assert verdict.named("drift") == [f"column_{at}" for at in range(columns)]
    assert len(verdict.reasons) == max(1, columns)


def test_stationary_months_stay_quiet_with_their_season_and_shared_spells() -> None:
    quiet = 0
    for seed in (1, 2, 3):
        rows = watched_rows(seed=seed)
        watch = Watch(rows, LEARNED_THROUGH, SEED)
        usual = watch.usual()
        months = [f"{year}-{month:02}" for year in (2013, 2014) for month in range(1, 13)]
        quiet += sum(judged_by(watch, usual, month).status == "none" for month in months)
    assert quiet >= 0.95 * 72


def test_the_reference_is_the_same_month_of_the_years_that_were_learned_from() -> None:
    sides = Watch(watched_rows(2), LEARNED_THROUGH, SEED).sides(MONTH)
    assert sides.reference_months == ("2008-07", "2009-07", "2010-07", "2011-07", "2012-07")
    assert sides.reference_rows == 5 * 31 * len(STATIONS)


def test_a_month_that_was_learned_from_is_compared_with_the_other_years_and_says_so() -> None:
    verdict = judged(watched_rows(2), "2010-07")
    assert verdict.reference_months == ("2008-07", "2009-07", "2011-07", "2012-07")
    assert verdict.hindcast
    assert not judged(watched_rows(2), "2013-07").hindcast


def test_a_month_that_was_learned_from_in_part_is_no_reference() -> None:
    sides = Watch(watched_rows(2), date(2012, 7, 29), SEED).sides(MONTH)
    assert sides.reference_months[-1] == "2011-07"
    # The label of the 30th is what the 31st observed, so the month was learned from whole.
    assert Watch(watched_rows(2), date(2012, 7, 30), SEED).sides(MONTH).reference_months[-1] == "2012-07"


def test_the_december_that_a_complete_year_was_tuned_through_is_a_reference() -> None:
    sides = Watch(watched_rows(2), LEARNED_THROUGH, SEED).sides("2014-12")
    assert (LEARNED_THROUGH.day, sides.reference_months[-1]) == (30, "2012-12")


def test_a_month_that_one_of_two_models_has_learned_from_is_a_hindcast() -> None:
    rows = watched_rows(2, kinds=("prediction", "observation"))
    newer = Watch(rows, LEARNED_THROUGH, SEED, {"column_0": date(2013, 12, 30)})
    usual = newer.usual()
    assert [judged_by(newer, usual, f"{year}-07").hindcast for year in (2012, 2013, 2014)] == [True, True, False]
    assert newer.sides(MONTH).reference_months == Watch(rows, LEARNED_THROUGH, SEED).sides(MONTH).reference_months


def test_predictions_are_held_against_the_months_that_tuned_their_own_model() -> None:
    rows = watched_rows(3, kinds=("prediction", "prediction", "observation"))
    values = rows.values.copy()
    tuned = (rows.day >= np.datetime64("2013-01-01").astype(np.int32)) & (
        rows.day < np.datetime64("2014-01-01").astype(np.int32)
    )
    values[tuned, :2] += 2
    rows = replace(rows, values=values)
    alike = Watch(rows, LEARNED_THROUGH, SEED).usual()
    newer = Watch(rows, LEARNED_THROUGH, SEED, {"column_0": date(2013, 12, 30)}).usual()
    assert newer.distance[0] > 1.5 * alike.distance[0]
    assert np.array_equal(newer.distance[1:], alike.distance[1:])
    assert newer.months == alike.months


def test_months_before_1970_can_be_watched() -> None:
    rows = watched_rows(4)
    shifted = replace(rows, day=rows.day - np.int32(50 * 365 + 12))  # 2008 becomes 1958, both leap or not alike
    verdict = judged(shifted, "1964-03", learned_through=date(1962, 12, 30))
    assert (verdict.status, len(verdict.reference_months)) == ("none", 5)


@pytest.mark.parametrize(("days", "status"), [(LEAST_DAYS, "none"), (LEAST_DAYS - 1, "unknown"), (0, "unknown")])
def test_a_month_of_too_few_days_is_unknown_and_never_quiet(days: int, status: str) -> None:
    rows = watched_rows(4)
    of_month = (rows.day.astype("datetime64[D]") - np.datetime64(f"{MONTH}-01")).astype(int)
    verdict = judged(without(rows, in_month(rows, MONTH) & (of_month >= days)), MONTH)
    assert verdict.status == status
    assert (verdict.share is None) == (status == "unknown")
    assert verdict.days == days
    if status == "unknown":
        assert ("observed days" in verdict.reasons[0]) == (days > 0)


def test_a_month_that_no_two_years_were_learned_of_is_unknown() -> None:
    verdict = judged(watched_rows(4), MONTH, learned_through=date(2008, 12, 31))
    assert verdict.status == "unknown"
    assert "1 training year holds this calendar month" in verdict.reasons[0]
    assert judged(watched_rows(4), MONTH, learned_through=date(2007, 12, 31)).status == "unknown"


def test_a_month_of_unseen_stations_alone_is_unknown_and_names_them() -> None:
    rows = watched_rows(4)
    new = np.isin(rows.station_index, (0, 4)) & ~in_month(rows, MONTH)
    old = np.isin(rows.station_index, (1, 2, 3)) & in_month(rows, MONTH)
    verdict = judged(without(rows, new | old), MONTH)
    assert verdict.status == "unknown"
    assert verdict.unseen_stations == ("Albury", "Uluru")
    assert verdict.silent_stations == ("Cobar", "Perth", "Sydney")


def test_an_unseen_station_is_named_and_is_no_drift() -> None:
    rows = watched_rows(4)
    rows = without(rows, (rows.station_index == 4) & ~in_month(rows, MONTH))
    values = rows.values.copy()
    values[rows.station_index == 4] += 50  # another climate
    verdict = judged(replace(rows, values=values), MONTH)
    assert (verdict.status, verdict.unseen_stations) == ("none", ("Uluru",))


def test_a_station_that_is_silent_this_month_or_was_for_years_is_no_drift() -> None:
    rows = watched_rows(4)
    values = rows.values + np.float32(20) * (rows.station_index == 4)[:, None]
    rows = replace(rows, values=values)
    silent_now = judged(without(rows, (rows.station_index == 4) & in_month(rows, MONTH)), MONTH)
    assert (silent_now.status, silent_now.silent_stations) == ("none", ("Uluru",))
    young = (rows.station_index == 4) & (rows.day < np.datetime64("2012-01-01").astype(np.int32))
    assert judged(without(rows, young), MONTH).status == "none"


@pytest.mark.parametrize("reports", ["nothing", "empty rows"])
@pytest.mark.parametrize(("lost", "status"), [(2, "none"), (3, "unknown")])
def test_a_month_of_less_than_half_of_the_stations_is_unknown(lost: int, status: str, reports: str) -> None:
    rows = watched_rows(4)
    gone = (rows.station_index < lost) & in_month(rows, MONTH)
    if reports == "nothing":
        rows = without(rows, gone)
    else:
        rows.values[gone] = np.nan
    verdict = judged(rows, MONTH)
    assert verdict.status == status
    assert verdict.reasons[-1] == f"{5 - lost} of 5 stations of the reference could be compared"


def test_an_instrument_that_some_stations_lost_is_no_drift_of_the_others() -> None:
    rows = watched_rows(4)
    values = rows.values.copy()
    values[:, 0] += 20 * rows.station_index
    values[in_month(rows, MONTH) & (rows.station_index >= 3), 0] = np.nan
    verdict = judged(replace(rows, values=values), MONTH)
    assert verdict.status == "none"
    assert verdict.columns[0].missing_share == pytest.approx(0.4)
    assert verdict.columns[0].reference_missing_share == 0


def test_a_column_that_vanished_is_drift_of_the_month_and_missing_itself() -> None:
    rows = changed(watched_rows(4), MONTH, lambda values: values.fill(np.nan), columns=1)
    verdict = judged(rows, MONTH)
    assert verdict.named("missing") == ["column_0"]
    assert (verdict.status, verdict.share) == ("drift", 0.0)
    assert verdict.reasons == ("column_0: 100% of its usual values are gone",)
    assert verdict.columns[0].distance is None


def with_missing(share: float, share_in_month: float) -> WatchedRows:
    """Rows of which the first column is missing at random: by this share, and by another in the month."""
    rows = watched_rows(4)
    values = rows.values.copy()
    random = np.random.default_rng(3).random(len(rows.day))
    values[random < np.where(in_month(rows, MONTH), share_in_month, share), 0] = np.nan
    return replace(rows, values=values)


@pytest.mark.parametrize(
    ("usual", "now", "status"),
    [
        (0.0, 0.0, "none"),
        (0.4, 0.4, "none"),
        (0.4, 0.5, "none"),
        (0.4, 0.0, "none"),
        (0.0, 0.4, "none"),
        (0.0, 0.6, "drift"),
        (0.4, 0.75, "drift"),
        (0.4, 1.0, "drift"),
        (1.0, 1.0, "none"),
    ],
)
def test_missing_values_are_drift_when_most_of_the_usual_ones_are_gone_and_not_when_a_usual_share_is(
    usual: float, now: float, status: str
) -> None:
    verdict = judged(with_missing(usual, now), MONTH)
    assert verdict.status == status
    assert ("of its usual values are gone" in verdict.reasons[0]) == (status == "drift")


def test_a_column_that_comes_and_goes_in_training_is_no_drift_when_it_goes() -> None:
    rows = watched_rows(4)
    values = rows.values.copy()
    year = rows.day.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    values[(year % 2 == 0) | in_month(rows, MONTH), 0] = np.nan
    assert judged(replace(rows, values=values), MONTH).status == "none"


def test_labels_that_are_not_known_yet_are_no_drift() -> None:
    rows = watched_rows(4, kinds=("observation", "observation", "prediction", "label"))
    values = rows.values.copy()
    values[in_month(rows, MONTH), 3] = np.nan
    assert judged(replace(rows, values=values), MONTH).status == "none"


def test_a_month_in_which_most_columns_are_missing_is_unknown_unless_something_drifted() -> None:
    rows = changed(watched_rows(4), MONTH, lambda values: values.fill(np.nan), columns=3)
    verdict = judged(rows, MONTH)
    assert (verdict.status, verdict.reasons) == ("unknown", ("1 of 4 observed columns could be compared",))
    values = rows.values.copy()
    values[in_month(rows, MONTH), 3] += 5
    assert judged(replace(rows, values=values), MONTH).status == "drift"


def test_a_column_that_was_never_known_does_not_make_a_month_unknown() -> None:
    rows = watched_rows(4)
    values = rows.values.copy()
    values[:, :3] = np.nan
    assert judged(replace(rows, values=values), MONTH).status == "none"


def test_a_reference_of_one_constant_cannot_be_compared() -> None:
    rows = watched_rows(4)
    values = rows.values.copy()
    values[~in_month(rows, MONTH), 0] = 0
    verdict = judged(replace(rows, values=values), MONTH)
    assert verdict.columns[0].status == "unknown"
    assert verdict.status == "none"


def test_drift_of_a_prediction_or_a_label_alone_is_drift_with_a_share_of_zero() -> None:
    rows = watched_rows(4, kinds=("prediction", "label", "observation", "observation"))
    for at in (0, 1):
        values = rows.values.copy()
        values[in_month(rows, MONTH), at] += 5
        verdict = judged(replace(rows, values=values), MONTH)
        assert (verdict.status, verdict.share, verdict.named("drift")) == ("drift", 0.0, [f"column_{at}"])


def test_predictions_that_are_sharper_on_rows_the_model_was_fitted_on_are_no_drift() -> None:
    rows = watched_rows(4, kinds=("prediction", "observation", "observation", "observation"))
    values = rows.values.copy()
    fitted = rows.day < np.datetime64("2012-01-01").astype(np.int32)
    values[~fitted, 0] += 2  # what the model says of rows it was not fitted on, tuning year and later alike
    rows = replace(rows, values=values)
    assert judged(rows, MONTH).status == "none"
    as_observation = replace(rows, columns=(WatchedColumn("column_0", "observation"), *rows.columns[1:]))
    predicted, observed = (Watch(each, LEARNED_THROUGH, SEED).usual().distance for each in (rows, as_observation))
    assert predicted[0] > 1.5 * observed[0]
    assert np.array_equal(predicted[1:], observed[1:])


def test_the_first_column_beyond_its_threshold_is_drift_and_one_below_is_not() -> None:
    watch = Watch(watched_rows(2), LEARNED_THROUGH, SEED)
    sides = watch.sides(MONTH)
    usual = Usual(0.1 / sides.weather_share, np.zeros(2), 60)
    limit = usual.of(sides)[0] * TIMES_USUAL
    assert limit == pytest.approx(0.1 * TIMES_USUAL)
    verdict = watch.judge(sides, usual, {"column_0": limit, "column_1": 0.399})
    assert [column.status for column in verdict.columns] == ["drift", "none"]
    assert (verdict.status, verdict.share) == ("drift", 0.5)


def test_the_same_seed_gives_the_same_verdict_and_another_seed_another_draw() -> None:
    rows = watched_rows(2)
    first, again, other = (Watch(rows, LEARNED_THROUGH, seed).sides(MONTH) for seed in (SEED, SEED, SEED + 1))
    assert np.array_equal(first.reference, again.reference)
    assert not np.array_equal(first.reference, other.reference)
    assert judged(rows, MONTH) == judged(rows, MONTH)


def test_a_large_month_is_sampled_and_both_sides_keep_the_proportions_of_the_stations() -> None:
    rows = watched_rows(1)
    repeats = 40  # 40 x 155 rows in the month
    many = replace(
        rows,
        station_index=np.tile(rows.station_index, repeats),
        day=np.tile(rows.day, repeats),
        values=np.tile(rows.values, (repeats, 1)),
    )
    sides = Watch(many, LEARNED_THROUGH, SEED).sides(MONTH)
    assert (sides.rows, len(sides.current), len(sides.reference)) == (repeats * 155, MOST_ROWS, 2 * MOST_ROWS)


def test_of_more_stations_than_can_be_watched_some_are_drawn_by_the_seed() -> None:
    names = [f"SYN{number:05}" for number in range(MOST_STATIONS + 500)]
    drawn = sampled_stations(reversed(names), SEED)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == MOST_STATIONS
    assert drawn == sampled_stations(names, SEED) != sampled_stations(names, SEED + 1)
    assert sampled_stations(names[:3], SEED) == names[:3]


def test_no_rows_at_all_are_unknown() -> None:
    nothing = np.ones(len(watched_rows(1).day), dtype=np.bool_)
    verdict = judged(without(watched_rows(1), nothing), MONTH)
    assert (verdict.status, verdict.reasons) == ("unknown", ("no station reported in this month",))


def test_values_that_do_not_belong_to_the_columns_are_refused() -> None:
    rows = watched_rows(2)
    with pytest.raises(InvariantError, match="do not belong to"):
        replace(rows, columns=rows.columns[:1])
