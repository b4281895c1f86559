"""How often the drift report cries wolf on weather that does not change, and how large a change it sees.

    python benchmarks/drift_calibration.py [--seeds 1 2 3 4] [--stations 49] [--picture FILE] [--path FILE]
        [--json FILE]

Stationary: synthetic weather of several seeds; models learn from the first four years, every month of the next eight is
judged. Shifted: the first two of these years with degrees added to every temperature, or with rain multiplied.
The verdict is the platform's own (`domain.drift`), with distances of the method that the report gives Evidently; one
month is also measured by Evidently itself and must agree. Last, the real table, month by month, without any bar:
nobody knows which of its months drifted.
"""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from common import CHECKOUT, REAL_TABLE, Report, parser
from skill_real_table import read

from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.drift import (
    LEAST_DAYS,
    TIMES_USUAL,
    ColumnKind,
    DriftVerdict,
    Sides,
    Usual,
    Watch,
    WatchedColumn,
    WatchedRows,
    distance,
)
from weather_platform.domain.features import (
    FEATURE_VERSION,
    OWN_DAY,
    FeatureMatrix,
    StationGrid,
    build_features,
    feature_names,
    neighbour_weights,
)
from weather_platform.domain.observations import COMPASS_POINTS, MISSING_TOKENS, OBSERVATION_COLUMNS
from weather_platform.domain.splits import day_number, plan_split
from weather_platform.domain.stations import STATIONS, Station
from weather_platform.domain.targets import TARGETS, labels
from weather_platform.domain.training import Predictor, TrainingConfig, TrainingData, train
from weather_platform.evidently_report import measure
from weather_platform.sources.synthetic import ClimateShift, SyntheticSource

FIRST_YEAR, LEARNED_YEARS, JUDGED_YEARS, SHIFTED_YEARS = 2004, 4, 8, 2
JUDGED_FROM = FIRST_YEAR + LEARNED_YEARS
LAST_YEAR = JUDGED_FROM + JUDGED_YEARS - 1
WARMER_C = (1.0, 2.0, 3.0, 4.0, 5.0)
WETTER = (1.5, 2.0, 3.0, 4.0)
FALSE_ALARMS = 0.05
Observed = Mapping[str, np.ndarray]
Shift = tuple[float, float]


def generated(
    seed: int, stations: int, years: range, shift: Shift | None = None
) -> tuple[Observed, tuple[Station, ...]]:
    """Clean arrays of these years; the climate is shifted, if at all, from the first judged year on."""
    change = ClimateShift(date(JUDGED_FROM, 1, 1), *shift) if shift else None
    source = SyntheticSource(
        seed=seed, station_count=stations, first_day=date(years[0], 1, 1), last_day=date(years[-1], 12, 31),
        shift=change, first_month=f"{FIRST_YEAR}-01", fetched_at=datetime(LAST_YEAR + 1, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    rows = pa.concat_tables([source.rows(f"{year}-{month:02}") for year in years for month in range(1, 13)])
    return cleaned(rows, [station.id for station in source.stations()]), source.stations()


def cleaned(rows: pa.Table, ids: list[str]) -> Observed:
    """What the platform's cleaning leaves of raw text: one row per station-day, impossible values missing."""
    rows = rows.filter(pc.is_valid(rows["day"]))
    station = pc.fill_null(pc.index_in(rows["station"], value_set=pa.array(ids)), -1).to_numpy().astype(np.int32)
    day = rows["day"].cast(pa.int32()).to_numpy()
    first = np.unique(station.astype(np.int64) << 32 | day, return_index=True)[1]
    kept = first[station[first] >= 0]
    arrays = {"station_index": station[kept], "day": day[kept]}
    words: dict[str, float] = {point: at * 22.5 for at, point in enumerate(COMPASS_POINTS)} | {"Yes": 1.0, "No": 0.0}
    for column in OBSERVATION_COLUMNS:
        text = rows[column.name].combine_chunks().dictionary_encode()
        values = np.array([_value(word, words) for word in text.dictionary.to_pylist()])
        if column.low is not None and column.high is not None:
            values[(values < column.low) | (values > column.high)] = np.nan
        arrays[column.name] = values[text.indices.to_numpy()][kept]
    return arrays


def _value(word: str, words: Mapping[str, float]) -> float:
    return np.nan if word in MISSING_TOKENS else words[word] if word in words else float(word)


def featured(observed: Observed, stations: tuple[Station, ...]) -> FeatureMatrix:
    """The matrix of every observed station-day."""
    grid, day = StationGrid.from_stations(stations), observed["day"]
    return build_features(observed, grid, neighbour_weights(grid), first_day=int(day.min()), last_day=int(day.max()))


def learned(
    observed: Observed, matrix: FeatureMatrix, stations: tuple[Station, ...], year: int
) -> dict[str, Predictor]:
    """A model of each target, as the platform trains it for this test year."""
    models = {}
    for target in TARGETS.values():
        label = labels(target, matrix.station_index, matrix.day, observed)
        data = TrainingData(
            station_ids=tuple(station.id for station in stations), station_index=matrix.station_index, day=matrix.day,
            values=matrix.values, labels=label, feature_names=tuple(feature_names()), feature_version=FEATURE_VERSION,
        )  # fmt: skip
        first, last = (date.fromisoformat(str(day.astype("datetime64[D]"))) for day in (data.day.min(), data.day.max()))
        split = plan_split(year, first, last)
        models[target.name] = train(
            target, ALGORITHMS["xgboost"], data, split, TrainingConfig(params={"n_estimators": 300}, resamples=20)
        ).predictor
    return models


def watched(
    observed: Observed, matrix: FeatureMatrix, stations: tuple[Station, ...], models: Mapping[str, Predictor]
) -> WatchedRows:
    """The columns the report compares."""
    at = {name: position for position, name in enumerate(feature_names())}
    columns = [matrix.values[:, at[feature.name]] for feature in OWN_DAY]
    named: list[tuple[str, ColumnKind]] = [(feature.name, "observation") for feature in OWN_DAY]
    for name, model in models.items():
        columns += [
            model.predict(matrix.values).value.astype(np.float32),
            labels(TARGETS[name], matrix.station_index, matrix.day, observed),
        ]
        named += [(f"{name}/prediction", "prediction"), (f"{name}/label", "label")]
    return WatchedRows(
        stations=tuple(station.id for station in stations), station_index=matrix.station_index, day=matrix.day,
        columns=tuple(WatchedColumn(name, kind) for name, kind in named),
        values=np.column_stack(columns),
    )  # fmt: skip


def distances(sides: Sides, usual: Usual) -> dict[str, float]:
    """What Evidently would measure, without the seconds of its page."""
    at = {column.name: position for position, column in enumerate(sides.columns)}
    found = {}
    for name in usual.thresholds(sides):
        then, now = sides.reference[:, at[name]], sides.current[:, at[name]]
        found[name] = distance(then[~np.isnan(then)], now[~np.isnan(now)])
    return found


def verdicts(watch: Watch, usual: Usual, months: list[str]) -> list[DriftVerdict]:
    """The verdict on each month."""
    judged = []
    for month in months:
        sides = watch.sides(month)
        judged.append(watch.judge(sides, usual, distances(sides, usual)))
    return judged


def largest(verdict: DriftVerdict) -> float:
    """How many times the usual distance the farthest column is away; NaN for an unknown month."""
    ratios = [column.distance / column.usual_distance for column in verdict.columns if column.distance is not None
              and column.usual_distance]  # fmt: skip
    return max(ratios, default=np.nan)


def only_first_days(rows: WatchedRows, days: int) -> WatchedRows:
    """The rows without the later days of the judged months."""
    of_month = rows.day - rows.day.astype("datetime64[D]").astype("datetime64[M]").astype("datetime64[D]").astype(int)
    kept = (of_month < days) | (rows.day < day_number(date(JUDGED_FROM, 1, 1)))
    return replace(rows, station_index=rows.station_index[kept], day=rows.day[kept], values=rows.values[kept])


def followed(rows: WatchedRows, later: WatchedRows) -> WatchedRows:
    """The rows of the training years, and then others."""
    kept = rows.day < later.day.min()
    return replace(
        rows,
        station_index=np.concatenate([rows.station_index[kept], later.station_index]),
        day=np.concatenate([rows.day[kept], later.day]),
        values=np.concatenate([rows.values[kept], later.values]),
    )


def share(verdicts_of: list[DriftVerdict], status: str = "drift") -> float:
    """The share of months with this status."""
    return sum(verdict.status == status for verdict in verdicts_of) / len(verdicts_of)


def main() -> None:
    """Generate, learn, judge; then the real table."""
    options_of = parser(__doc__)
    options_of.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    options_of.add_argument("--stations", type=int, default=49)
    options_of.add_argument("--path", type=Path, default=REAL_TABLE, help="the weatherAUS table")
    options_of.add_argument("--picture", type=Path, default=CHECKOUT / "docs/images/drift_calibration.png")
    options = options_of.parse_args()
    report = Report("calibration of the drift report", options.json)
    months = [f"{year}-{month:02}" for year in range(JUDGED_FROM, LAST_YEAR + 1) for month in range(1, 13)]
    quiet: list[DriftVerdict] = []
    shifted: dict[Shift, list[DriftVerdict]] = {}
    shifts: list[Shift] = [*((degrees, 1.0) for degrees in WARMER_C), *((0.0, factor) for factor in WETTER)]
    started = time.perf_counter()
    for seed in options.seeds:
        observed, stations = generated(seed, options.stations, range(FIRST_YEAR, LAST_YEAR + 1))
        matrix = featured(observed, stations)
        models = learned(observed, matrix, stations, JUDGED_FROM)
        learned_through = date(JUDGED_FROM - 1, 12, 30)
        rows = watched(observed, matrix, stations, models)
        watch = Watch(rows, learned_through, seed)
        clock = time.perf_counter()
        usual = watch.usual()
        usual_seconds, clock = time.perf_counter() - clock, time.perf_counter()
        stationary = verdicts(watch, usual, months)
        judged_seconds = (time.perf_counter() - clock) / len(months)
        quiet += stationary
        columns = Counter(name for verdict in stationary for name in verdict.named("drift"))
        report.figure(
            f"seed {seed}: false alarms", share(stationary), "",
            note=f"{len(months)} months; usual {usual_seconds:.1f} s, a month {judged_seconds:.3f} s; {dict(columns)}",
        )  # fmt: skip
        if seed == options.seeds[0]:
            agree_with_evidently(watch, usual, months[0], report)
            for days in (LEAST_DAYS, LEAST_DAYS + 3):
                part = verdicts(Watch(only_first_days(rows, days), learned_through, seed), usual, months)
                report.figure(f"seed {seed}: false alarms of the first {days} days", share(part), "")
        for shift in shifts:
            changed, _ = generated(seed, options.stations, range(JUDGED_FROM, JUDGED_FROM + SHIFTED_YEARS), shift)
            later = watched(changed, featured(changed, stations), stations, models)
            seen = Watch(followed(rows, later), learned_through, seed)
            shifted.setdefault(shift, []).extend(verdicts(seen, usual, months[: 12 * SHIFTED_YEARS]))
    report.figure("false alarms of all months", share(quiet), "", at_most=FALSE_ALARMS, note=f"{len(quiet)} months")
    report.figure("months that could not be judged", share(quiet, "unknown"), "")
    ratios = np.array([largest(verdict) for verdict in quiet])
    for quantile in (0.5, 0.9, 0.95, 0.99):
        report.figure(
            f"farthest column, times usual, quantile {quantile:g}", float(np.nanquantile(ratios, quantile)), ""
        )
    for (degrees, factor), judged in shifted.items():
        name = f"{degrees:+g} degC" if degrees else f"rain x {factor:g}"
        columns = Counter(column for verdict in judged for column in verdict.named("drift"))
        most = ", ".join(f"{column} {count / len(judged):.0%}" for column, count in columns.most_common(4))
        report.figure(f"{name}: months detected", share(judged), "", note=most)
    draw(options.picture, ratios, {shift: share(judged) for shift, judged in shifted.items()}, share(quiet))
    report.figure("all of it", time.perf_counter() - started, "s")
    if options.path.exists():
        real_table(options.path, report)
    report.close()


def agree_with_evidently(watch: Watch, usual: Usual, month: str, report: Report) -> None:
    """One month through Evidently itself: the same distances to the bit."""
    sides = watch.sides(month)
    clock = time.perf_counter()
    measured = measure(sides, usual.thresholds(sides))
    assert measured.distances == distances(sides, usual), "Evidently measures something else"
    report.figure("Evidently's report of a month, import and all", time.perf_counter() - clock, "s")
    report.figure("its page", len(measured.page) / 1e6, "MB", note="and 4 MB once, shared by all pages")


def real_table(path: Path, report: Report) -> None:
    """Every month after what the model of 2013 learned from, and every month before it as hindcast."""
    observed = read(path)
    matrix = featured(observed, STATIONS)
    test_year = 2013
    rows = watched(observed, matrix, STATIONS, learned(observed, matrix, STATIONS, test_year))
    watch = Watch(rows, date(test_year - 1, 12, 30), 1)
    usual = watch.usual()
    numbers = np.unique(rows.day.astype("datetime64[D]").astype("datetime64[M]"))
    judged = verdicts(watch, usual, [str(month) for month in numbers])
    for hindcast in (True, False):
        part = [verdict for verdict in judged if verdict.hindcast is hindcast]
        name = "the training years" if hindcast else f"{test_year} on"
        report.figure(f"real table, {name}: drift", share(part), "", note=f"{len(part)} months")
        report.figure(f"real table, {name}: unknown", share(part, "unknown"), "")
    for verdict in judged:
        if verdict.status != "none" or verdict.unseen_stations:
            unseen = f"; unseen: {', '.join(verdict.unseen_stations)}" if verdict.unseen_stations else ""
            report.say(f"  {verdict.month} {verdict.status}: {'; '.join(verdict.reasons[:3])}{unseen}")


def draw(picture: Path, ratios: np.ndarray, found: Mapping[Shift, float], false_alarms: float) -> None:
    """Left: how far stationary months are from their reference. Right: how often a shift is seen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.hist(ratios[~np.isnan(ratios)], bins=40, color="#2166ac")
    left.axvline(TIMES_USUAL, color="#d6604d", linewidth=1.6)
    left.set_title(
        f"Weather that does not change: {false_alarms:.1%} of {len(ratios)} months called drift", fontsize=10
    )
    left.set_xlabel("farthest column of a month, times its usual distance")
    left.set_ylabel("months")
    warmer = [(degrees, seen) for (degrees, factor), seen in found.items() if factor == 1.0]
    wetter = [(factor, seen) for (degrees, factor), seen in found.items() if degrees == 0.0]
    for points, colour, name in (
        (warmer, "#d6604d", "degC added to temperatures"),
        (wetter, "#2166ac", "factor on rain"),
    ):
        right.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
    right.axhline(false_alarms, color="#8a8f98", linewidth=1.0, linestyle="--", label="no shift")
    right.set_ylim(0, 1.03)
    right.set_title("Share of months in which a shift is seen", fontsize=10)
    right.set_xlabel("size of the shift")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, metadata={"Software": None})


if __name__ == "__main__":
    main()
