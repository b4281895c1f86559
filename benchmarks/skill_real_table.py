"""Skill on the real table, straight through the domain calls: csv -> arrays -> features -> labels -> train.

    python benchmarks/skill_real_table.py [--path FILE] [--targets rain_tomorrow ...] [--years 2015 ...]
        [--seeds 1 2 3] [--set eta=0.05 ...] [--issued-at-9am] [--json FILE]

No Dagster, lake or MLflow: what is measured is the recipe. For each test year, train is everything before the year
before it and validation is that year. The bars are those of test year 2015; other years have none. Recipes are
chosen on earlier years: nothing is ever tuned on the year of the bars.

With `--issued-at-9am` a row of day D knows what was known at 9 am of D: the readings of that morning, and for what is
read later (3 pm, maximum, sunshine, gust) the values of the day before. Labels are the same. The 24 hours of rain
"tomorrow" begin at that moment, so compare this figure, not the other, with forecasts issued in the morning. It has no
bars.
"""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from common import REAL_TABLE, Report, parser

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.features import (
    FEATURE_VERSION,
    StationGrid,
    build_features,
    feature_names,
    neighbour_weights,
)
from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS
from weather_platform.domain.regression_metrics import REGRESSION_METRICS
from weather_platform.domain.splits import day_date, newest_labelled_day, plan_split
from weather_platform.domain.stations import STATIONS
from weather_platform.domain.targets import TARGETS, ForecastTarget, Task, labels
from weather_platform.domain.training import TrainedModel, TrainingConfig, TrainingData, train

BARS_YEAR = 2015
AT_LEAST = {"roc_auc": 0.917, "f1": 0.690, "r2": 0.890}
AT_MOST = {"brier": 0.0890, "ece": 0.015}
SHOWN: dict[Task, tuple[str, ...]] = {
    "classification": ("roc_auc", "f1", "pr_auc", "brier", "log_loss", "ece"),
    "regression": REGRESSION_METRICS,
}


def read(path: Path) -> dict[str, np.ndarray]:
    """The observation arrays of the contract, from the weatherAUS layout."""
    frame = pd.read_csv(path, na_values=["NA"])
    station = {s.id: i for i, s in enumerate(STATIONS)}
    arrays: dict[str, np.ndarray] = {
        "station_index": frame["Location"].map(station).fillna(-1).to_numpy(np.int32),
        "day": pd.to_datetime(frame["Date"]).to_numpy("datetime64[D]").astype(np.int32),
    }
    codes = {
        "compass": {point: i * 22.5 for i, point in enumerate(COMPASS_POINTS)},
        "flag": {"Yes": 1.0, "No": 0.0},
    }
    for column in OBSERVATION_COLUMNS:
        values = frame[column.weather_aus]
        arrays[column.name] = (values.map(codes[column.kind]) if column.kind in codes else values).to_numpy(np.float64)
    return arrays


KNOWN_AT_9AM = frozenset({"min_temp_c", "rainfall_mm", "evaporation_mm", "rain_today"})
"""Besides what has 9am in its name: what the Bureau reads at 9 am of the day."""


def as_known_at_9am(observations: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same station-days with what is read after 9 am taken from the station's day before, else missing."""
    station, day = observations["station_index"].astype(np.int64), observations["day"]
    keys = (station << 33) + day
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], keys - 1), len(keys) - 1)
    before = order[at]
    there = keys[before] == keys - 1
    later = {c.name for c in OBSERVATION_COLUMNS if "9am" not in c.name and c.name not in KNOWN_AT_9AM}
    return {
        name: np.where(there, values[before], np.nan) if name in later else values
        for name, values in observations.items()
    }


def training_data(
    path: Path, targets: list[ForecastTarget], report: Report, *, issued_at_9am: bool
) -> dict[str, TrainingData]:
    """Features of every station-day of the file, with the labels of each target."""
    clock = time.perf_counter()
    observations = read(path)
    known = as_known_at_9am(observations) if issued_at_9am else observations
    report.figure("read", time.perf_counter() - clock, "s", note=f"{len(observations['day']):,} rows")
    clock = time.perf_counter()
    grid = StationGrid.from_stations(STATIONS)
    day = observations["day"]
    matrix = build_features(known, grid, neighbour_weights(grid), first_day=int(day.min()), last_day=int(day.max()))
    shape = f"{len(matrix):,} rows of {matrix.values.shape[1]}, version {FEATURE_VERSION}"
    report.figure("features", time.perf_counter() - clock, "s", note=shape)
    clock = time.perf_counter()
    found = {target.name: labels(target, matrix.station_index, matrix.day, observations) for target in targets}
    counts = ", ".join(f"{np.count_nonzero(~np.isnan(label)):,} of {name}" for name, label in found.items())
    report.figure("labels", time.perf_counter() - clock, "s", note=counts)
    return {
        name: TrainingData(
            station_ids=tuple(s.id for s in STATIONS),
            station_index=matrix.station_index,
            day=matrix.day,
            values=matrix.values,
            labels=label,
            feature_names=tuple(feature_names()),
            feature_version=FEATURE_VERSION,
        )
        for name, label in found.items()
    }


def show(report: Report, target: ForecastTarget, year: int, models: list[TrainedModel], *, bars: bool) -> None:
    """One block per test year: each seed, interval and baseline as a table, then the means beside their bars."""
    shown = SHOWN[target.task]
    report.say(f"\n{target.name}, test {year}: train {models[0].split.train}, rows {dict(models[0].rows)}")
    report.say(f"{'':<14}" + "".join(f"{name:>15}" for name in shown) + f"{'trees':>8}{'fit s':>8}")
    for model in models:
        metrics = "".join(f"{model.metrics[name]:15.4f}" for name in shown)
        report.say(f"seed {model.seed:<9}{metrics}{model.notes['trees']:8d}{model.seconds['fit']:8.1f}")
    interval = models[0].intervals
    report.say(f"{'95 % low':<14}" + "".join(f"{interval[name].low:15.4f}" for name in shown))
    report.say(f"{'95 % high':<14}" + "".join(f"{interval[name].high:15.4f}" for name in shown))
    for name, baseline in models[0].baselines.items():
        report.say(f"{name:<14}" + "".join(f"{baseline.metrics[metric]:15.4f}" for metric in shown))
    report.say("skill         " + ", ".join(f"{name} {value:.4f}" for name, value in models[0].skill.items()))
    for name in shown:
        report.figure(
            f"{target.name} {year}: {name}, mean of {len(models)} seeds",
            float(np.mean([model.metrics[name] for model in models])),
            "",
            at_least=AT_LEAST.get(name) if bars else None,
            at_most=AT_MOST.get(name) if bars else None,
        )


def main() -> None:
    """Parse, read once, train every year and seed."""
    options_of = parser(__doc__)
    options_of.add_argument("--path", type=Path, default=REAL_TABLE, help="the weatherAUS table")
    options_of.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    options_of.add_argument("--years", type=int, nargs="+", default=[2012, 2013, 2014, 2015])
    options_of.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options_of.add_argument("--threads", type=int, default=2)
    options_of.add_argument(
        "--issued-at-9am", action="store_true", help="forget what is read after 9 am of the issue day"
    )
    options_of.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters of xgboost")
    options = options_of.parse_args()
    params = {name: float(value) for name, value in (pair.split("=") for pair in options.set)}
    report = Report("skill on the real table", options.json)
    targets = [TARGETS[name] for name in options.targets]
    recipes = [TrainingConfig(seed=seed, threads=options.threads, params=params) for seed in options.seeds]
    tables = training_data(options.path, targets, report, issued_at_9am=options.issued_at_9am)
    for name, data in tables.items():
        target, newest = TARGETS[name], newest_labelled_day(data.day, data.labels)
        for year in options.years:
            split = plan_split(year, first_day=day_date(int(data.day.min())), newest_labelled_day=newest)
            models = [train(target, ALGORITHMS["xgboost"], data, split, each) for each in recipes]
            show(report, target, year, models, bars=year == BARS_YEAR and not options.issued_at_9am)
    report.close()


if __name__ == "__main__":
    main()
