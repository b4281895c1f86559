"""Forecasts joined with what happened: numbers worked out by hand, sums that add up, and nothing learnt from later."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weather_platform.domain.algorithms import BASELINES, BaselineRows
from weather_platform.domain.matured import (
    ADDITIVE,
    COUNTS,
    MATURED_SCHEMA,
    RELIABILITY_SCHEMA,
    SCORES,
    SEASONS,
    Matured,
    References,
    combine,
    combine_bins,
    fit_references,
    measure_month,
    with_scores,
    with_season,
)
from weather_platform.domain.splits import day_number, plan_split
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import InvariantError

RAIN = TARGETS["rain_tomorrow"]
VALUE = replace(
    RAIN, name="warmth", task="regression", column="max_temp_c", unit="degC",
    label=lambda values: np.asarray(values, dtype=np.float32),
)  # fmt: skip
STATES = {"Albury": "NSW", "Sydney": "NSW", "Perth": "WA"}
FIRST = date(2015, 6, 1)


@dataclass(frozen=True)
class Always:
    """A reference that says the same of every row."""

    value: float

    def predict(self, rows: BaselineRows) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.full(len(rows), self.value)


def always(climatology: float, persistence: float) -> References:
    return References(tuple(STATES), {"climatology": Always(climatology), "persistence": Always(persistence)})


def forecasts(*rows: tuple[Any, ...], version: int = 1, kind: str = "live") -> pa.Table:
    """(station, days after the first, probability)"""
    return pa.table(
        {
            "station": pa.array([row[0] for row in rows], pa.string()),
            "day": pa.array([FIRST + timedelta(days=row[1]) for row in rows], pa.date32()),
            "model_version": pa.array([version] * len(rows), pa.int64()),
            "kind": pa.array([kind] * len(rows), pa.string()),
            "probability": pa.array([row[2] for row in rows], pa.float64()),
            "label": pa.array([row[2] >= 0.5 for row in rows], pa.bool_()),
        }
    )


def facts(*rows: tuple[str, int, float | None, float | None]) -> pa.Table:
    """(station, days after the first, rainfall of the day, whether it rained the next day)"""
    return pa.table(
        {
            "station": pa.array([row[0] for row in rows], pa.string()),
            "day": pa.array([FIRST + timedelta(days=row[1]) for row in rows], pa.date32()),
            "rainfall_mm": pa.array([row[2] for row in rows], pa.float32()),
            "label_rain_tomorrow": pa.array([row[3] for row in rows], pa.float32()),
        }
    )


HAPPENED = facts(("Albury", 0, 0.0, 1.0), ("Albury", 1, 3.0, 0.0), ("Perth", 0, 0.0, 0.0), ("Sydney", 0, 0.0, None))


def measured(issued: pa.Table, happened: pa.Table = HAPPENED) -> Matured:
    return measure_month(RAIN, "2015-06", issued, happened, STATES, lambda _: always(0.25, 0.5))


def only(rows: pa.Table, **cells: object) -> dict[str, Any]:
    """The one row with these cells."""
    for name, value in cells.items():
        rows = rows.filter(pc.field(name) == value)
    [row] = rows.to_pylist()
    return dict(row)


def test_the_scores_are_those_worked_out_by_hand() -> None:
    row = only(measured(forecasts(("Albury", 0, 0.8), ("Albury", 1, 0.6), ("Perth", 0, 0.1))).skill, state="NSW")
    assert (row["matured"], row["forecast_sum"], row["observed_sum"]) == (2, pytest.approx(1.4), 1.0)
    assert row["squared_error"] == pytest.approx(0.2**2 + 0.6**2)
    assert row["absolute_error"] == pytest.approx(0.2 + 0.6)
    assert row["climatology_squared_error"] == pytest.approx(0.75**2 + 0.25**2)
    assert row["persistence_absolute_error"] == pytest.approx(0.5 + 0.5)
    assert row["mean_squared_error"] == pytest.approx(0.2)
    assert row["squared_skill_climatology"] == pytest.approx(1 - 0.4 / 0.625)
    assert row["squared_skill_persistence"] == pytest.approx(1 - 0.4 / 0.5)
    assert row["absolute_skill_climatology"] == pytest.approx(1 - 0.8 / 1.0)
    assert row["bias"] == pytest.approx(0.2)
    assert (row["true_positive"], row["false_positive"], row["false_negative"]) == (1, 1, 0)
    assert row["f1"] == pytest.approx(2 / 3)
    assert (row["covered"], row["coverage"], row["r2"]) == (None, None, None)


def test_a_value_has_its_errors_its_r2_and_how_often_the_interval_held() -> None:
    issued = pa.table(
        {
            "station": ["Albury", "Perth", "Sydney"], "day": pa.array([FIRST] * 3, pa.date32()),
            "model_version": [1, 1, 1], "kind": ["live"] * 3,
            "value": [20.0, 24.5, -0.5], "value_low": [19.0, 20.0, -2.0], "value_high": [23.0, 26.0, 1.0],
        }
    )  # fmt: skip
    happened = pa.table(
        {
            "station": ["Albury", "Perth", "Sydney"], "day": pa.array([FIRST] * 3, pa.date32()),
            "max_temp_c": pa.array([19.0] * 3, pa.float32()), "label_warmth": pa.array([22.0, 27.5, 0.0], pa.float32()),
        }
    )  # fmt: skip
    found = measure_month(VALUE, "2015-06", issued, happened, {}, lambda _: always(25.0, 19.0))
    row = only(found.skill, state="unknown")
    assert row["mean_absolute_error"] == pytest.approx((2 + 3 + 0.5) / 3)
    assert row["absolute_skill_climatology"] == pytest.approx(1 - 5.5 / (3 + 2.5 + 25))
    assert row["r2"] == pytest.approx(1 - (4 + 9 + 0.25) / np.sum((np.array([22, 27.5, 0]) - 16.5) ** 2))
    assert (row["covered"], row["coverage"]) == (2, pytest.approx(2 / 3))
    assert (row["true_positive"], row["f1"]) == (None, None)
    assert found.reliability["bin"].to_pylist() == [-1, 20, 24], "whole degrees, rounded down"


@pytest.mark.parametrize("rows", [7, 49, 1519, 300_000])
def test_values_that_differ_by_rounding_alone_have_no_r2(rows: int) -> None:
    def r2(observed: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
        one = {name: np.zeros(rows) for name in ADDITIVE} | {
            "matured": np.ones(rows), "covered": np.ones(rows), "observed_sum": observed,
            "observed_squared_sum": observed**2, "squared_error": np.full(rows, 4.0),
        }  # fmt: skip
        score: float | None = with_scores(combine(pa.table(one), ()))["r2"][0].as_py()
        return score

    for level in (0.1, 1.9, 1015.7):
        same = np.full(rows, np.float32(level), dtype=np.float64)
        assert r2(same) is None
        assert r2(same + np.arange(rows) % 2) == pytest.approx(1 - 4 / np.var(np.arange(rows) % 2), rel=1e-6)


def test_a_forecast_without_its_label_is_pending_until_others_have_theirs_and_then_unmatched() -> None:
    issued = forecasts(("Albury", 0, 0.5), ("Sydney", 0, 0.5), ("Sydney", 2, 0.5), ("Perth", 2, 0.5), ("Perth", 1, 0.5))
    found = combine(measured(issued).skill, ()).to_pylist()[0]
    # Labels reach the second day: Sydney of the first and Perth of the second will not come, the third day may.
    assert {name: found[name] for name in COUNTS} == {"forecasts": 5, "matured": 1, "pending": 2, "unmatched": 2}
    later = facts(("Albury", 0, 0.0, 1.0), ("Sydney", 2, 0.0, 1.0), ("Perth", 2, 0.0, None))
    found = combine(measured(issued, later).skill, ()).to_pylist()[0]
    assert {name: found[name] for name in COUNTS} == {"forecasts": 5, "matured": 2, "pending": 0, "unmatched": 3}


def test_nothing_has_matured_before_the_first_label_and_there_is_no_score_then() -> None:
    row = only(measured(forecasts(("Albury", 0, 0.5)), facts(("Albury", 0, 0.0, None))).skill)
    assert (row["pending"], row["matured"]) == (1, 0)
    assert [row[name] for name in SCORES] == [None] * len(SCORES)


def test_hindcasts_and_other_versions_have_rows_of_their_own() -> None:
    issued = pa.concat_tables(
        [
            forecasts(("Albury", 0, 0.9)),
            forecasts(("Albury", 0, 0.2), kind="hindcast"),
            forecasts(("Albury", 0, 0.4), version=2),
        ]
    )
    found = measured(issued).skill
    assert only(found, kind="live", model_version=1)["squared_error"] == pytest.approx(0.01)
    assert only(found, kind="hindcast", model_version=1)["squared_error"] == pytest.approx(0.64)
    assert only(found, kind="live", model_version=2)["squared_error"] == pytest.approx(0.36)


def test_each_version_is_compared_with_the_references_of_its_own_training() -> None:
    issued = pa.concat_tables([forecasts(("Albury", 0, 0.9)), forecasts(("Albury", 0, 0.9), version=2)])
    known = {1: always(0.0, 0.5), 2: always(0.5, 0.5)}
    found = measure_month(RAIN, "2015-06", issued, HAPPENED, STATES, known.__getitem__).skill
    assert only(found, model_version=1)["climatology_squared_error"] == 1.0
    assert only(found, model_version=2)["climatology_squared_error"] == 0.25


def test_reliability_holds_each_matured_forecast_in_one_bin_and_one_belongs_to_the_last() -> None:
    issued = forecasts(("Albury", 0, 1.0), ("Albury", 1, 0.95), ("Perth", 0, 0.0), ("Sydney", 0, 0.5))
    found = measured(issued).reliability
    assert found.schema.equals(RELIABILITY_SCHEMA)
    assert {
        (r["state"], r["bin"]): (r["matured"], r["forecast_sum"], r["observed_sum"]) for r in found.to_pylist()
    } == {
        ("NSW", 9): (2, 1.95, 1.0),
        ("WA", 0): (1, 0.0, 0.0),
    }


def test_a_month_without_forecasts_gives_two_empty_tables() -> None:
    found = measured(forecasts())
    assert (found.skill.num_rows, found.skill.schema) == (0, MATURED_SCHEMA)
    assert (found.reliability.num_rows, found.reliability.schema) == (0, RELIABILITY_SCHEMA)


def test_two_rows_of_features_for_one_station_day_are_refused() -> None:
    with pytest.raises(InvariantError, match="1 forecasts meet two rows of features"):
        measured(forecasts(("Albury", 0, 0.5)), facts(("Albury", 0, 0.0, 1.0), ("Albury", 0, 0.0, 0.0)))


def _many(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    days = draw(st.lists(st.integers(0, 29), min_size=1, max_size=12, unique=True))
    keys = [(station, day) for day in days for station in STATES]
    issued = [(*key, draw(st.floats(0, 1))) for key in keys]
    labels = [(*key, 0.0, draw(st.sampled_from([0.0, 1.0, None]))) for key in keys]
    return forecasts(*issued), facts(*labels)


@settings(deadline=None, max_examples=60)
@given(st.composite(_many)(), st.randoms())
def test_months_that_are_added_up_are_what_all_rows_give_at_once_in_any_order(
    rows: tuple[pa.Table, pa.Table], random: Any
) -> None:
    issued, happened = rows
    order = list(range(issued.num_rows))
    random.shuffle(order)
    shuffled = issued.take(order)
    half = FIRST + timedelta(days=15)
    parts = [measured(shuffled.filter(c), happened) for c in (pc.field("day") < half, pc.field("day") >= half)]
    whole, added = measured(issued, happened), pa.concat_tables([part.skill for part in parts])
    for by in ((), ("state",), ("kind", "model_version")):
        one, other = (with_scores(combine(table, by)) for table in (whole.skill, added))
        for name in (*ADDITIVE, *SCORES):
            found, expected = (table[name].cast(pa.float64()).to_numpy() for table in (one, other))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9, err_msg=name)
    assert measured(shuffled, happened).skill.equals(whole.skill), "bit for bit, whatever order rows come in"
    assert measured(shuffled, happened).bias.equals(whole.bias)
    bins = [
        combine_bins(table, ("state",))
        for table in (whole.reliability, pa.concat_tables([p.reliability for p in parts]))
    ]
    assert bins[0]["matured"].equals(bins[1]["matured"])
    assert pc.sum(bins[0]["matured"]).as_py() in (None, pc.sum(whole.skill["matured"]).as_py())


def test_every_calendar_month_has_its_southern_season() -> None:
    months = [f"2015-{number:02d}" for number in range(1, 13)]
    found = with_season(pa.table({"month": months}))["season"].to_pylist()
    assert found == ["summer"] * 2 + ["autumn"] * 3 + ["winter"] * 3 + ["spring"] * 3 + ["summer"]
    assert set(found) == set(SEASONS)


# ---------------------------------------------------------------- bias


def biases(found: Matured, **cells: object) -> dict[str, Any]:
    return only(found.bias, **cells)


def test_the_bias_of_all_a_state_and_a_station_is_the_one_worked_out_by_hand() -> None:
    found = measured(forecasts(("Albury", 0, 0.8), ("Albury", 1, 0.6), ("Perth", 0, 0.1), ("Sydney", 0, 0.9)))
    assert found.bias.select(["scope", "place", "rows", "days"]).to_pylist() == [
        {"scope": "all", "place": "", "rows": 3, "days": 2},
        {"scope": "state", "place": "NSW", "rows": 2, "days": 2},
        {"scope": "state", "place": "WA", "rows": 1, "days": 1},
        {"scope": "station", "place": "Albury", "rows": 2, "days": 2},
        {"scope": "station", "place": "Perth", "rows": 1, "days": 1},
    ], "Sydney's forecast has not matured"
    every = biases(found, scope="all")
    mean = (-0.2 + 0.6 + 0.1) / 3
    # Two days with 2 and 1 rows: errors of -0.1 and 0.6, and what is left of them around the mean.
    left = np.array([-0.1 - 2 * mean, 0.6 - mean])
    half = 31.8205159537739 * np.sqrt(2 * np.sum(left**2)) / 3  # Student's 0.99 quantile of one degree of freedom
    assert (every["bias"], every["low"], every["high"]) == pytest.approx((mean, mean - half, mean + half))
    perth = biases(found, scope="station", place="Perth")
    assert (perth["bias"], perth["low"], perth["high"]) == (pytest.approx(0.1), None, None), "one day has no interval"


def test_versions_and_kinds_have_biases_of_their_own() -> None:
    issued = pa.concat_tables(
        [
            forecasts(("Albury", 0, 0.9), ("Albury", 1, 0.4)),
            forecasts(("Albury", 0, 0.2), kind="hindcast"),
            forecasts(("Albury", 0, 0.4), version=2),
        ]
    )
    found = measured(issued)
    kinds = [
        (row["model_version"], row["kind"], row["bias"]) for row in found.bias.to_pylist() if row["scope"] == "all"
    ]
    assert kinds == [
        (1, "hindcast", pytest.approx(-0.8)), (1, "live", pytest.approx(0.15)), (2, "live", pytest.approx(-0.6)),
    ]  # fmt: skip


def test_a_month_in_which_nothing_has_matured_has_no_bias() -> None:
    assert measured(forecasts(("Sydney", 0, 0.9))).bias.num_rows == 0
    assert measured(forecasts()).bias.num_rows == 0


def test_the_interval_is_that_of_a_bootstrap_of_days_and_wider_than_that_of_rows() -> None:
    random = np.random.default_rng(7)
    rain = random.random(30) < 0.3  # a wet day is wet at every station
    wet = random.random((30, 49)) < np.where(rain, 0.9, 0.05)[:, None]
    stations = [f"S{at}" for at in range(49)]
    rows = [(name, day, 0.4) for day in range(30) for name in stations]
    happened = [(name, day, 0.0, float(wet[day, at])) for day in range(30) for at, name in enumerate(stations)]
    found = biases(measured(forecasts(*rows), facts(*happened)), scope="all")
    error = 0.4 - wet.mean(axis=1)
    drawn = [random.choice(error, 30).mean() for _ in range(4000)]
    assert found["bias"] == pytest.approx(error.mean())
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.01, 0.99])), abs=0.03)
    assert found["high"] - found["low"] > 3 * 2 * 2.33 * (0.4 - wet).std() / np.sqrt(wet.size)


# ---------------------------------------------------------------- references


def _ten_years(wet_after: Mapping[int, float]) -> pa.Table:
    """Three stations every day from 2008, dry before and in some way wet from the given years on."""
    days = np.arange(day_number(date(2008, 1, 1)), day_number(date(2015, 12, 31)) + 1, dtype=np.int32)
    year = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
    label = np.zeros(len(days), dtype=np.float32)
    for first, share in wet_after.items():
        label[(year >= first) & (days % 100 < 100 * share)] = 1
    return pa.table(
        {
            "station": np.repeat(list(STATES), len(days)),
            "day": pa.array(np.tile(days, 3), pa.int32()).cast(pa.date32()),
            "rainfall_mm": np.tile(np.float32(0), 3 * len(days)),
            "label_rain_tomorrow": np.tile(label, 3),
        }
    )


SPLIT = plan_split(2014, date(2008, 1, 1), date(2015, 12, 30))


def _said(references: References, station: str = "Albury") -> dict[str, float]:
    day = np.array([day_number(FIRST)], dtype=np.int32)
    said = references.forecasts(pa.chunked_array([[station]]), day, np.zeros(1, dtype=np.float32))
    return {name: float(values[0]) for name, values in said.items()}


def test_references_learn_from_the_training_rows_of_the_split_and_from_nothing_later() -> None:
    dry = fit_references(RAIN, SPLIT, _ten_years({}), refit=False)
    assert _said(dry) == {"climatology": 0.0, "persistence": 0.0}
    assert _said(fit_references(RAIN, SPLIT, _ten_years({2013: 1.0}), refit=False)) == _said(dry), (
        "validation and test are not seen"
    )
    assert _said(fit_references(RAIN, SPLIT, _ten_years({2012: 1.0}), refit=False))["climatology"] > 0.1


def test_references_of_a_model_that_was_fitted_again_learn_from_validation_too_and_never_from_test() -> None:
    dry = _said(fit_references(RAIN, SPLIT, _ten_years({}), refit=True))
    assert _said(fit_references(RAIN, SPLIT, _ten_years({2014: 1.0}), refit=True)) == dry
    assert _said(fit_references(RAIN, SPLIT, _ten_years({2013: 1.0}), refit=True))["climatology"] > 0.1


def test_references_are_the_baselines_of_every_leaderboard() -> None:
    rows = _ten_years({2009: 0.3})
    found = fit_references(RAIN, SPLIT, rows, refit=False)
    day = rows["day"].cast(pa.int32()).to_numpy()
    train = SPLIT.parts(day).train
    station = np.repeat(np.arange(3, dtype=np.int32), len(day) // 3)  # any numbering: it must not matter
    known = BaselineRows.of(station, day, np.zeros(len(day), dtype=np.float32)).where(train)
    label = rows["label_rain_tomorrow"].to_numpy()[train]
    for name in found.fitted:
        ours = found.forecasts(rows["station"], day, np.zeros(len(day), dtype=np.float32))[name][train]
        assert np.array_equal(ours, BASELINES[name].fit(known, label, "classification").predict(known))


def test_a_station_that_training_has_not_seen_gets_the_climatology_of_all() -> None:
    found = fit_references(RAIN, SPLIT, _ten_years({2009: 0.3}), refit=False)
    assert 0.1 < _said(found, "Woomera")["climatology"] < 0.5


def test_references_without_training_rows_are_refused() -> None:
    with pytest.raises(InvariantError, match="no climatology to compare with"):
        fit_references(RAIN, SPLIT, HAPPENED, refit=False)
