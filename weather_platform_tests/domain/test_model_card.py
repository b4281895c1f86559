"""The card says of both kinds of targets what was measured, where it is weak, and what it cannot do; always alike."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.matured import SEASONS
from weather_platform.domain.model_card import CardFacts, model_card
from weather_platform.domain.outputs import Forecasts
from weather_platform.domain.reproduction import CodeVersion, Recipe
from weather_platform.domain.slices import LEAST_ROWS, season_of, sliced
from weather_platform.domain.splits import day_number
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.domain.training import TrainedModel, TrainingConfig, train
from weather_platform_tests.domain.learning import small_data, small_split

RAIN = TARGETS["rain_tomorrow"]
VALUE = replace(
    RAIN, name="damp_tomorrow", title="Damp tomorrow", task="regression", column="humidity_3pm_pct", unit="%",
    label=lambda values: values.astype(np.float32), primary_metric="r2",
)  # fmt: skip


def card_facts(target: ForecastTarget, source: str = "csv", refit: bool = True) -> tuple[CardFacts, TrainedModel]:
    """The facts of a small model of the target."""
    data, split = small_data(), small_split()
    if target.task == "regression":
        noise = np.random.default_rng(3).normal(size=len(data)).astype(np.float32)
        data = replace(data, labels=np.nan_to_num(data.values[:, 1]) + noise)
    config = TrainingConfig(seed=1, threads=1, params={"n_estimators": 20}, resamples=20, refit=refit)
    model = train(target, ALGORITHMS["xgboost"], data, split, config)
    test = split.parts(data.day).test & ~np.isnan(data.labels)
    forecasts = model.predictor.predict(data.values[test])
    state = np.asarray(["NSW", "NSW", "NSW", "VIC", "VIC", "VIC"])[data.station_index[test]]
    output = model.contract.output
    metrics = {f"test_{name}": value for name, value in model.metrics.items()}
    for name, interval in model.intervals.items():
        metrics |= {f"test_{name}_low": interval.low, f"test_{name}_high": interval.high}
    for name, baseline in model.baselines.items():
        metrics |= {f"{name}_{metric}": value for metric, value in baseline.metrics.items()}
    metrics |= {f"rows_{part}": float(rows) for part, rows in model.rows.items()}
    code = CodeVersion(package="1.0", domain_sha256="a" * 64, commit=None)
    recipe = Recipe(
        target=target.name, algorithm="xgboost", year=2012, feature_version="1-test", seed=1, threads=1,
        params={name: str(value) for name, value in model.params.items()}, refit=config.refit,
        lake_versions={"features": 7}, libraries=model.libraries, code=code, first_fit_sha256=model.first_fit_sha256,
    )  # fmt: skip
    labels = data.labels[test]
    facts = CardFacts(
        target=target, algorithm=ALGORITHMS["xgboost"], version=3, digest=model.digest, run_id="run-1", recipe=recipe,
        contract=model.contract, split=split, metrics=metrics, baselines=list(model.baselines),
        importance=model.importance, by_state=sliced(output, labels, forecasts, state),
        by_season=sliced(output, labels, forecasts, season_of(data.day[test]), list(SEASONS)), plots=["importance"],
        source=source,
    )  # fmt: skip
    return facts, model


@pytest.mark.parametrize("target", [RAIN, VALUE], ids=["classification", "regression"])
def test_the_card_has_every_metric_with_interval_and_baselines_and_the_same_text_again(target: ForecastTarget) -> None:
    facts, model = card_facts(target)
    card = model_card(facts)
    assert card == model_card(card_facts(target)[0])
    for name, value in model.metrics.items():
        [line] = [line for line in card.splitlines() if line.startswith(f"| {name} |") and f"| {value:.4f} |" in line]
        interval = model.intervals[name]
        baselines = [f"{baseline.metrics[name]:.4f}" for baseline in model.baselines.values()]
        assert line.endswith(" | ".join([f"{interval.low:.4f} to {interval.high:.4f}", *baselines]) + " |")
    assert f"| test | 2012-01-01 | 2012-12-31 | {model.rows['test']:,} |" in card
    for said in (
        model.digest,
        "`features` 7",
        "1-test",
        "seed 1",
        "9 am of the issue day",
        "![importance](plots/importance.png)",
    ):
        assert said in card
    assert "ynthetic" not in card
    unit = "coverage_90" if target.task == "regression" else "roc_auc"
    for group in ("NSW", "VIC", *SEASONS):
        assert f"| {group} | " in card
    assert f"| {unit} |" in card


def test_a_card_of_generated_weather_says_so_first_and_last() -> None:
    card = model_card(card_facts(RAIN, source="synthetic")[0])
    assert card.splitlines()[2].startswith("> **Synthetic weather.**")
    assert "must not be used for real decisions" in card.partition("## Limits")[2]


def test_the_card_says_what_the_importance_of_its_algorithm_is_a_share_of() -> None:
    facts, _ = card_facts(RAIN)
    for name, measure in (("xgboost", "total gain"), ("logistic_regression", "absolute standardised weights")):
        assert f"| feature | share of {measure} |" in model_card(replace(facts, algorithm=ALGORITHMS[name]))


def test_slices_hold_every_row_once_and_measure_only_where_it_means_something() -> None:
    facts, model = card_facts(RAIN)
    assert sum(each.rows for each in facts.by_state) == sum(each.rows for each in facts.by_season) == model.rows["test"]
    assert [each.name for each in facts.by_season] == list(SEASONS)
    probability = np.full(3 * LEAST_ROWS, 0.5)
    forecasts = Forecasts(probability, label=probability > 0.4)
    labels = np.tile(np.asarray([0, 1], np.float32), len(probability) // 2)
    group = np.asarray(["few"] * (LEAST_ROWS - 1) + ["many"] * (LEAST_ROWS + 1) + ["dry"] * LEAST_ROWS)
    labels[group == "dry"] = 0
    found = {each.name: each for each in sliced(model.contract.output, labels, forecasts, group)}
    assert found["many"].metrics is not None
    assert found["few"].metrics is None
    assert found["dry"].metrics is None


@pytest.mark.parametrize(
    ("day", "season"),
    [
        (date(2015, 12, 1), "summer"), (date(2016, 2, 29), "summer"), (date(2015, 3, 1), "autumn"),
        (date(2015, 5, 31), "autumn"), (date(2015, 6, 1), "winter"), (date(2015, 11, 30), "spring"),
        (date(1969, 12, 31), "summer"),
    ],
)  # fmt: skip
def test_seasons_are_those_of_the_south(day: date, season: str) -> None:
    assert season_of(np.asarray([day_number(day)], np.int32)).tolist() == [season]


def test_the_card_says_which_figures_are_of_which_fit() -> None:
    facts, model = card_facts(RAIN)
    card = model_card(facts)
    assert "The model that serves is fitted again on train and validation" in card
    assert "Every figure below is of the test days, by the model that serves." in card
    assert f"SHA-256 of the first fit's file: `{model.first_fit_sha256}`" in card
    once = model_card(card_facts(RAIN, refit=False)[0])
    assert "fitted again" not in once
    assert "first fit" not in once
    assert "Train fits the model; validation stops and calibrates it" in once
