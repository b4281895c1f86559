"""Skill on the real table, straight through the domain calls: csv -> arrays -> features -> labels -> train.

Run: python benchmarks/skill_real_table.py [--csv FILE] [--years 2015 ...] [--seeds 1 2 3] [--set eta=0.05
...]

No Dagster, lake or MLflow: what is measured is the recipe. For each test year, train is everything before the
year before it and validation is that year. The figures beside 2015 are those the platform has promised to
reach.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.features import (
    FEATURE_VERSION,
    StationGrid,
    build_features,
    feature_names,
    neighbour_weights,
)
from weather_platform.domain.observations import COMPASS_POINTS, OBSERVATION_COLUMNS
from weather_platform.domain.splits import day_date, newest_labelled_day, plan_split
from weather_platform.domain.stations import STATIONS
from weather_platform.domain.targets import TARGETS, labels
from weather_platform.domain.training import TrainedModel, TrainingConfig, TrainingData, train

DEFAULT_CSV = Path(__file__).resolve().parents[2] / "shared/data/weatherAUS_2007_2015.csv.gz"
REQUIRED = {"roc_auc": (">=", 0.917), "f1": (">=", 0.690), "brier": ("<=", 0.0890), "ece": ("<=", 0.015)}
SHOWN = ("roc_auc", "f1", "pr_auc", "brier", "log_loss", "ece")


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


def training_data(path: Path) -> TrainingData:
    """Features and labels of every station-day of the file."""
    clock = time.perf_counter()
    observations = read(path)
    print(f"read {len(observations['day']):,} rows in {time.perf_counter() - clock:.2f} s")
    clock = time.perf_counter()
    grid = StationGrid.from_stations(STATIONS)
    day = observations["day"]
    matrix = build_features(
        observations, grid, neighbour_weights(grid), first_day=int(day.min()), last_day=int(day.max())
    )
    print(f"features {matrix.values.shape} in {time.perf_counter() - clock:.2f} s, version {FEATURE_VERSION}")
    clock = time.perf_counter()
    label = labels(TARGETS["rain_tomorrow"], matrix.station_index, matrix.day, observations)
    print(f"labels in {time.perf_counter() - clock:.3f} s, {np.count_nonzero(~np.isnan(label)):,} known")
    return TrainingData(
        station_ids=tuple(s.id for s in STATIONS),
        station_index=matrix.station_index,
        day=matrix.day,
        values=matrix.values,
        labels=label,
        feature_names=tuple(feature_names()),
        feature_version=FEATURE_VERSION,
    )


def report(year: int, models: list[TrainedModel]) -> None:
    """One block per test year: each seed, the mean, the baselines and what is required."""
    print(f"\ntest {year}: train {models[0].split.train}, rows {dict(models[0].rows)}")
    print(f"{'':<14}" + "".join(f"{name:>10}" for name in SHOWN) + f"{'trees':>8}{'fit s':>8}")
    for model in models:
        print(
            f"seed {model.seed:<9}"
            + "".join(f"{model.metrics[name]:10.4f}" for name in SHOWN)
            + f"{model.notes['trees']:8d}{model.seconds['fit']:8.1f}"
        )
    mean = {name: float(np.mean([model.metrics[name] for model in models])) for name in SHOWN}
    print(f"{'mean':<14}" + "".join(f"{mean[name]:10.4f}" for name in SHOWN))
    interval = models[0].intervals
    print(f"{'95 % low':<14}" + "".join(f"{interval[name].low:10.4f}" for name in SHOWN))
    print(f"{'95 % high':<14}" + "".join(f"{interval[name].high:10.4f}" for name in SHOWN))
    for name, baseline in models[0].baselines.items():
        print(f"{name:<14}" + "".join(f"{baseline.metrics[metric]:10.4f}" for metric in SHOWN))
    if year == 2015:
        for name, (sign, value) in REQUIRED.items():
            met = mean[name] >= value if sign == ">=" else mean[name] <= value
            print(f"  {name} {mean[name]:.4f} required {sign} {value}: {'met' if met else 'MISSED'}")


def main() -> None:
    """Parse, read once, train every year and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, default=DEFAULT_CSV)
    parser.add_argument("--years", type=int, nargs="+", default=[2012, 2013, 2014, 2015])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="parameters of xgboost")
    options = parser.parse_args()
    params = {name: float(value) for name, value in (pair.split("=") for pair in options.set)}
    data = training_data(options.csv)
    newest = newest_labelled_day(data.day, data.labels)
    for year in options.years:
        split = plan_split(year, first_day=day_date(int(data.day.min())), newest_labelled_day=newest)
        report(
            year,
            [
                train(
                    TARGETS["rain_tomorrow"],
                    ALGORITHMS["xgboost"],
                    data,
                    split,
                    TrainingConfig(seed=seed, threads=options.threads, params=params),
                )
                for seed in options.seeds
            ],
        )


if __name__ == "__main__":
    main()
