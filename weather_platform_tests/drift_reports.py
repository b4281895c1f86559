"""Drift reports of made-up months, for tests of how they are stored and looked at."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from weather_platform.domain.departures import Departure, DepartureVerdict
from weather_platform.domain.drift import DriftVerdict, Watch
from weather_platform.evidently_report import Measured, measure, page
from weather_platform.io_managers.reports import DriftReport
from weather_platform_tests.domain.drifting import LEARNED_THROUGH, SEED, in_month, judged, watched_rows

MONTH = "2014-07"
MOMENT = datetime(2014, 8, 1, 20, tzinfo=UTC)


def verdict_of(status: str = "none", month: str = MONTH) -> DriftVerdict:
    """A real verdict of this status."""
    rows = watched_rows(4)
    if status == "drift":
        rows.values[in_month(rows, month), 0] += 5
    if status == "unknown":
        rows.values[in_month(rows, month)] = np.nan
    verdict = judged(rows, month)
    assert verdict.status == status
    return verdict


def departures_of(month: str = MONTH, **columns: float) -> DepartureVerdict:
    """A verdict in which Albury departs in these columns, by these z."""
    found = tuple(Departure("Albury", name, z / 2, z) for name, z in columns.items())
    return DepartureVerdict(
        month=month, status="departs" if found else "none", departures=found, compared=60, usually_compared=60,
        reasons=tuple(f"{each} departs from its neighbours" for each in found) or ("no station departs",),
    )  # fmt: skip


def drift_report(status: str = "none", month: str = MONTH, **changes: Any) -> DriftReport:
    """A report as the asset gives it, with a page that Evidently did not have to draw."""
    values: dict[str, Any] = {
        "verdict": verdict_of(status, month),
        "source": "csv",
        "models": {"rain_tomorrow": {"version": 1, "sha256": "a" * 64}},
        "features_lake_version": 3,
        "page": f"<html>{status}</html>".encode(),
        "evidently": {},
        "dagster_run_id": "run-1",
        "reported_at": MOMENT,
        "departures": departures_of(month),
    }
    return DriftReport(**(values | changes))


def measured_report(columns: int = 4, shifted: int = 1) -> tuple[DriftReport, Measured]:
    """A report that Evidently measured, with some columns shifted."""
    rows = watched_rows(columns)
    rows.values[in_month(rows, MONTH), :shifted] += 5
    watch = Watch(rows, LEARNED_THROUGH, SEED)
    usual, sides = watch.usual(), watch.sides(MONTH)
    measured = measure(sides, usual.thresholds(sides))
    verdict = watch.judge(sides, usual, measured.distances)
    return drift_report(verdict=verdict, page=page(measured, verdict, ""), evidently=measured.values), measured
