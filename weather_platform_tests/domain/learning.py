"""A small world to learn in, shared by tests: rows of features whose next day really depends on them."""

from dataclasses import replace
from datetime import date

import numpy as np

from weather_platform.domain.splits import Split, day_number, plan_split
from weather_platform.domain.training import TrainingData

FIRST, LAST = date(2010, 1, 1), date(2012, 12, 31)
NAMES = ("rainfall_mm", "humidity_3pm_pct", "pressure_3pm_hpa", "cloud_3pm_oktas", "noise")


def small_data(stations: int = 6, seed: int = 0) -> TrainingData:
    """Three years of a few stations; one value in ten is missing, the last day has no label."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(day_number(FIRST), day_number(LAST) + 1, dtype=np.int32), stations)
    station = np.tile(np.arange(stations, dtype=np.int32), len(day) // stations)
    values = rng.normal(size=(len(day), len(NAMES))).astype(np.float32)
    chance = 1 / (1 + np.exp(1.5 - 1.6 * values[:, 1] - values[:, 3] + values[:, 2] - 0.5 * (station % 3)))
    labels = (rng.random(len(day)) < chance).astype(np.float32)
    labels[day == day.max()] = np.nan
    values[:, 0] = np.where(rng.random(len(day)) < 0.25, 5.0, 0.0)
    values[rng.random(values.shape) < 0.1] = np.nan
    return TrainingData(
        station_ids=tuple(f"Station{i}" for i in range(stations)),
        station_index=station,
        day=day,
        values=values,
        labels=labels,
        feature_names=NAMES,
        feature_version="1-test",
    )


def small_values(stations: int = 6, seed: int = 0) -> TrainingData:
    """The same rows with a quantity to forecast: a temperature with seasons, which follows two of the features."""
    rows = small_data(stations, seed)
    rng = np.random.default_rng(seed + 1)
    season = 6 * np.cos(2 * np.pi * (rows.day % 365.25) / 365.25)
    values = rows.values.copy()
    known = np.nan_to_num(values)
    labels = 20 + season + 3 * known[:, 1] - 2 * known[:, 2] + rng.normal(scale=1.5, size=len(rows))
    values[:, 0] = 20 + season + 3 * rng.normal(size=len(rows))
    values[rng.random(len(rows)) < 0.1, 0] = np.nan
    labels[np.isnan(rows.labels)] = np.nan
    return replace(
        rows, values=values, labels=labels.astype(np.float32), feature_names=("max_temp_c", *rows.feature_names[1:])
    )


def small_split() -> Split:
    """Train 2010, validation 2011, test 2012."""
    return plan_split(2012, FIRST, date(2012, 12, 30))
