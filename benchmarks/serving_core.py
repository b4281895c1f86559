"""What the endpoint computes, without the endpoint: one row and a batch, against XGBoost's own inplace_predict.

    python benchmarks/serving_core.py [--trees 500] [--depth 7] [--rounds 15] [--json FILE]

49 stations with random but plausible observations; a model of the given size, learnt from them. All contenders take
turns within one run, on one thread; each figure is processor time, the median over the rounds, so that what else the
machine does counts for little.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from common import Report, parser
from features_scale import BASE_STATIONS, FIRST_DAY, grid_of, plausible
from numpy.typing import NDArray

from weather_platform.domain.algorithms import XGBOOST, FitRows
from weather_platform.domain.contributions import contributions
from weather_platform.domain.features import (
    FEATURE_VERSION,
    HISTORY_DAYS,
    build_features,
    feature_names,
    neighbour_weights,
)
from weather_platform.domain.live import RecentObservations, SentDay
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.outputs import OUTPUTS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import Contract, Predictor, sha256
from weather_platform.serving.forecasting import Forecast, Forecaster
from weather_platform.serving.model_store import ServedModel

TARGET = TARGETS["rain_tomorrow"]
STORED_DAYS = 120
TRAINED_DAYS = 500
BATCH = 10_000
TOGETHER = 8
"""Rows of one loop tick: as many as a busy service has connections."""
CALLS = 50
"""Calls of a single row that are timed together."""

Contender = Callable[[], object]


def trained(trees: int, depth: int) -> Predictor:
    """A model that asks for rain after humid days, with so much noise that it keeps growing trees."""
    grid = grid_of(BASE_STATIONS)
    observations = plausible(BASE_STATIONS, FIRST_DAY - TRAINED_DAYS, FIRST_DAY, seed=2)
    matrix = build_features(
        observations, grid, neighbour_weights(grid), first_day=FIRST_DAY - TRAINED_DAYS, last_day=FIRST_DAY
    )
    known = np.nan_to_num(matrix.values)
    wet = known[:, feature_names().index("humidity_3pm_pct")] + np.random.default_rng(0).normal(0, 15, len(matrix))
    labels = (wet > np.quantile(wet, 0.75)).astype(np.float32)
    validation = matrix.day % 5 == 0
    model = XGBOOST.fit(
        FitRows(matrix.values, labels, tuple(feature_names()), ~validation, validation),
        TARGET.task,
        XGBOOST.resolve({"n_estimators": trees, "max_depth": depth, "eta": 0.005, "early_stopping_rounds": 1000}),
        1,
        2,
    )
    data = model.to_bytes()
    contract = Contract(
        target=TARGET.name,
        task=TARGET.task,
        unit=TARGET.unit,
        algorithm=XGBOOST.name,
        feature_version=FEATURE_VERSION,
        feature_names=tuple(feature_names()),
        output=OUTPUTS[TARGET.task].fit(labels[validation], model.predict_raw(matrix.values[validation])),
        tuned_through="2008-01-01",
        tested_through="2009-01-01",
        model_file=XGBOOST.file_name,
        model_sha256=sha256(data),
    )
    return Predictor.load(contract.to_bytes(), data, digest=sha256(contract.to_bytes()))


def in_turns(contenders: Mapping[str, Contender], rounds: int, calls: int) -> dict[str, float]:
    """Processor seconds of one call of each: the median over rounds in which every contender has its turn."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, call in contenders.items():
            start = time.process_time()
            for _ in range(calls):
                call()
            seconds[name].append((time.process_time() - start) / calls)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}  # the first round warms up


def single_rows(report: Report, predictor: Predictor, recent: RecentObservations, rounds: int) -> None:
    """One row at a time, and the rows of one loop tick."""
    day = FIRST_DAY + STORED_DAYS - 1
    sent = {c.name: 10.0 for c in OBSERVATION_COLUMNS}
    others = [SentDay(s, day, sent) for s in range(BASE_STATIONS) if s != 7]
    row = recent.features_of_one(7, day, sent, use_history=True)
    rows = np.concatenate([recent.features_of_one(s, day, sent, use_history=True) for s in range(TOGETHER)])
    booster = predictor.model.booster  # type: ignore[attr-defined]
    served = ServedModel(
        target=TARGET, alias="Production", version=1, digest=predictor.digest, run_id="", algorithm=XGBOOST.name,
        predictor=predictor, contract_bytes=b"", tested_through=0, metrics={},
        registered_at=datetime.now(UTC), since=datetime.now(UTC),
    )  # fmt: skip
    forecaster = Forecaster(threads=1)

    async def tick() -> list[Forecast]:
        return await asyncio.gather(*(forecaster.one(served, rows[i : i + 1]) for i in range(TOGETHER)))

    loop = asyncio.new_event_loop()
    found = in_turns(
        {
            "xgboost": lambda: booster.inplace_predict(row, predict_type="margin"),
            "features": lambda: recent.features_of_one(7, day, sent, use_history=True),
            "no history": lambda: recent.features_of_one(7, day, sent, use_history=False),
            "others": lambda: recent.features_of_one(7, day, sent, use_history=True, others=others),
            "predict": lambda: predictor.predict(row),
            "predict together": lambda: predictor.predict(rows),
            "tick": lambda: loop.run_until_complete(tick()),
        },
        rounds,
        CALLS,
    )
    loop.close()
    us = {name: seconds * 1e6 for name, seconds in found.items()}
    report.figure("one row: XGBoost inplace_predict alone", us["xgboost"], "us")
    report.figure("one row: features", us["features"], "us", at_most=60)
    report.figure("one row: features without history", us["no history"], "us")
    report.figure("one row: features with all other stations sent", us["others"], "us")
    report.figure("one row: forecast from features", us["predict"], "us")
    report.figure("one row: XGBoost / (features + forecast)", us["xgboost"] / (us["features"] + us["predict"]), "x")
    report.figure(f"{TOGETHER} rows of a tick: forecast, a row", us["predict together"] / TOGETHER, "us")
    report.figure(f"{TOGETHER} rows of a tick: with the event loop, a row", us["tick"] / TOGETHER, "us")
    seconds = in_turns({"explain": lambda: contributions(predictor, row)}, rounds, 1)
    report.figure("one row: contributions", seconds["explain"] * 1e3, "ms")


def batches(report: Report, predictor: Predictor, recent: RecentObservations, rounds: int) -> None:
    """Ten thousand station-days as columns."""
    first = FIRST_DAY + STORED_DAYS - 20
    sent: dict[str, NDArray[Any]] = {
        name: values[:BATCH] for name, values in plausible(BASE_STATIONS, first, first + 210, seed=3).items()
    }
    scattered = sent | {"day": first - 100 * np.arange(BATCH, dtype=np.int32)}
    values = recent.features_of_many(sent, use_history=True).values
    booster = predictor.model.booster  # type: ignore[attr-defined]
    found = in_turns(
        {
            "xgboost": lambda: booster.inplace_predict(values, predict_type="margin"),
            "features": lambda: recent.features_of_many(sent, use_history=True),
            "scattered": lambda: recent.features_of_many(scattered, use_history=True),
            "predict": lambda: predictor.predict(values),
            "all": lambda: predictor.predict(recent.features_of_many(sent, use_history=True).values),
        },
        rounds,
        1,
    )
    for name, text in (
        ("xgboost", "XGBoost inplace_predict alone"),
        ("features", "features from columns"),
        ("scattered", "– every row on a day of its own, 100 apart"),
        ("predict", "forecasts from features"),
        ("all", "columns to forecasts"),
    ):
        report.figure(f"{BATCH:,} rows: {text}", BATCH / found[name], "rows/s")
    report.figure(f"{BATCH:,} rows: forecasts against XGBoost", found["xgboost"] / found["predict"], "x")
    report.figure(
        f"{BATCH:,} rows: columns to forecasts against XGBoost", found["xgboost"] / found["all"], "x", at_least=0.6
    )


def main() -> None:
    """Parse, train, measure, print."""
    options = parser(__doc__)
    options.add_argument("--trees", type=int, default=500, help="trees of the model (default 500)")
    options.add_argument("--depth", type=int, default=7, help="depth of its trees (default 7)")
    options.add_argument("--rounds", type=int, default=15, help="turns of every contender (default 15)")
    chosen = options.parse_args()
    report = Report("the core of the endpoint on one thread", chosen.json)
    predictor = trained(chosen.trees, chosen.depth)
    report.say(f"{predictor.model.notes['trees']} trees of depth {chosen.depth}")
    recent = RecentObservations(
        plausible(BASE_STATIONS, FIRST_DAY - HISTORY_DAYS, FIRST_DAY + STORED_DAYS - 1),
        grid_of(BASE_STATIONS),
        first_day=FIRST_DAY,
        last_day=FIRST_DAY + STORED_DAYS - 1,
    )
    single_rows(report, predictor, recent, chosen.rounds)
    batches(report, predictor, recent, chosen.rounds)
    report.close()


if __name__ == "__main__":
    main()
