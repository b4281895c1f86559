"""The plan that materialises the whole graph: which stage job runs over which partitions, in which order.

What belongs here: the arithmetic of ranges, and the run config that goes with one. What does not: starting runs
(the CLI does, on the real instance).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from weather_platform.domain.features import HISTORY_DAYS
from weather_platform.domain.forecast_days import ForecastDay, state_of_month
from weather_platform.domain.splits import days_needed, plan_split
from weather_platform.errors import NotEnoughDataError, SourceError
from weather_platform.io_managers.stored import INPUTS, LABELS, OBSERVATIONS_TABLE, ROWS, Stored
from weather_platform.lake.masks import MASKS_TABLE
from weather_platform.lake.provenance import RAW_TABLE
from weather_platform.partitions import days_of_month
from weather_platform.sources import Coverage

INGEST, PROCESS, LEARN, FORECAST, WATCH = "ingest", "process", "learn", "forecast", "watch"

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StageRun:
    """One Dagster run: a stage job over a range of partition keys, both inclusive."""

    job: str
    first: str
    last: str
    only: str | None = None
    """Last part of the keys of the assets that run; None: all assets of the job."""


def plan_runs(coverage: Coverage, test_years: Iterable[int], forecast_days: int) -> list[StageRun]:
    """The runs of the whole graph for a source's coverage.

    `test_years` empty means the newest year with a label: the newest day has none yet. Years that follow each other
    share a run. The newest `forecast_days` days of the coverage are forecast. SourceError for a year outside it.
    """
    first, last = coverage.first_day, coverage.last_day
    years = sorted(set(test_years)) or [max(first, last - _DAY).year]
    if outside := [str(year) for year in years if not first.year <= year <= last.year]:
        raise SourceError(
            f"no observations for {', '.join(outside)}: the source covers {first} to {last}; choose a year inside"
        )
    newest_days = max(first, last - timedelta(days=forecast_days - 1))
    return [
        StageRun(INGEST, _month(first), _month(last)),
        StageRun(PROCESS, str(first.year), str(last.year)),
        *(StageRun(LEARN, str(group[0]), str(group[-1])) for group in _consecutive(years)),
        StageRun(FORECAST, newest_days.isoformat(), last.isoformat()),
    ]


def refuse_years_without_split(coverage: Coverage, stored_months: Iterable[str], plan: Iterable[StageRun]) -> None:
    """NotEnoughDataError when a year of the plan cannot be trained, validated and tested on what is covered.

    What the lake holds already (its months, YYYY-MM) counts too: a source may hold the newest days alone, or old ones.
    """
    first_day = _first_day(coverage, stored_months)
    newest_labelled = max([coverage.last_day, *_first_days(stored_months)]) - _DAY
    for run in plan:
        if run.job == LEARN:
            for year in range(int(run.first), int(run.last) + 1):
                plan_split(year, first_day, newest_labelled)


def too_short_to_learn(coverage: Coverage, stored_months: Iterable[str]) -> str | None:
    """Why no year can be trained on what is covered and stored, in a line; None when the newest can."""
    first_day, newest_labelled = _first_day(coverage, stored_months), coverage.last_day - _DAY
    year = max(coverage.first_day, newest_labelled).year
    try:
        plan_split(year, first_day, newest_labelled)
    except NotEnoughDataError:
        needed = days_needed(year, max(coverage.first_day, newest_labelled))
        there = (coverage.last_day - first_day).days + 1
        return (
            f"training for {year} needs {needed} days of observations up to {coverage.last_day}, and there are {there} "
            f"(from {first_day}); bring earlier ones, or a model of another home: `weather model import`"
        )
    return None


def _first_day(coverage: Coverage, stored_months: Iterable[str]) -> date:
    return min([coverage.first_day, *_first_days(stored_months)])


def _first_days(months: Iterable[str]) -> list[date]:
    return [date.fromisoformat(f"{month}-01") for month in months]


def newest_split(target: str, month: str) -> dict[str, Any]:
    """The run config of `learn` that splits the newest data at the end of a month (YYYY-MM), for the month's year."""
    config = {"kind": "newest", "as_of": days_of_month(month)[1].isoformat()}
    return {"ops": {f"{target}__split": {"config": config}}}


def ingest_runs(months: Iterable[str]) -> list[StageRun]:
    """The runs that receive these months (YYYY-MM) and no others."""
    groups = _consecutive(sorted({_month_number(month) for month in months}))
    return [StageRun(INGEST, _month_key(group[0]), _month_key(group[-1])) for group in groups]


def years_to_clean(raw: Mapping[str, Stored], cleaned: Mapping[str, Stored]) -> dict[str, str]:
    """The years with a raw month that their clean rows were not made from yet, each with the version of that month."""
    newest: dict[str, int] = {}
    for month, stored in raw.items():
        newest[month[:4]] = max(newest.get(month[:4], -1), stored.version)
    return {
        year: f"raw_observations {version}"
        for year, version in newest.items()
        if year not in cleaned or cleaned[year].read.get(RAW_TABLE, -1) < version
    }


def years_to_make_features_of(
    observed: Mapping[str, Stored], made: Mapping[str, Stored], masked: Mapping[str, Stored]
) -> dict[str, str]:
    """The years whose features were made before their observations or masks, each with the versions of these.

    The first day of the next year labels the last one, and the last days of the year before are the history of the
    first: when one of these days changed, the year is made again. Years without an observation have no features.
    """
    behind: dict[str, str] = {}
    for year, stored in observed.items():
        if not stored.rows:
            continue
        first, last = date(int(year), 1, 1), date(int(year), 12, 31)
        before, after = observed.get(str(int(year) - 1)), observed.get(str(int(year) + 1))
        newest = max(
            stored.version,
            _changed(before, ROWS, [first - at * _DAY for at in range(1, HISTORY_DAYS + 1)]),
            _changed(after, ROWS, [last + _DAY]),
        )
        if year not in made or made[year].read.get(OBSERVATIONS_TABLE, -1) < newest:
            behind[year] = f"observations {newest}"
        elif year in masked and made[year].read.get(MASKS_TABLE, -1) < masked[year].version:
            behind[year] = f"observations {newest}, masks {masked[year].version}"
    return behind


def days_to_forecast(
    features: Mapping[str, Stored], forecast: Iterable[ForecastDay], version: int, first_days: int
) -> dict[date, str]:
    """The days that one model version has yet to forecast, or has to forecast again, ascending.

    New are those after the newest that it has forecast: the newest `first_days` with a report, and all whose features
    changed since its newest forecasts were made; and of the newest `first_days` those whose first report came late.
    Again come those of its days whose features changed after it forecast them. Each day with the model version and the
    version of the features that changed it.
    """
    changed_in: dict[date, int] = {}
    unknown: dict[str, int] = {}
    for year, stored in features.items():
        record = stored.days(INPUTS)
        changed_in |= dict(record.items())
        unknown[year] = record.oldest()
    observed = [stored.last_day for stored in features.values() if stored.last_day is not None]
    if not observed:
        return {}
    read = {
        day.day: unknown.get(f"{day.day:%Y}", -1) if day.features_lake_version is None else day.features_lake_version
        for day in forecast
        if day.model_version == version
    }
    window = max(observed) - (first_days - 1) * _DAY
    oldest, newest = min(read, default=date.max), max(read, default=date.min)
    newest_read = max(read.values(), default=-1)

    def wanted(day: date, at: int) -> bool:
        if day in read:
            return at > read[day]
        late = bool(read) and at > newest_read
        return (day >= window or late) if day > newest else (day >= window and day > oldest and late)

    asked = {day for day, at in changed_in.items() if wanted(day, at)}
    return {day: f"version {version}, features {changed_in[day]}" for day in sorted(asked)}


def months_to_measure(
    features: Mapping[str, Stored], forecast: Iterable[ForecastDay], measured: Mapping[str, str]
) -> dict[str, str]:
    """The months whose forecasts, or what happened after them, are not what was measured, each with what is there now.

    `measured` has what each month was measured of; "" is a month of an older version of the platform, which did not
    say, and is left alone.
    """
    days: dict[str, list[ForecastDay]] = {}
    for each in forecast:
        days.setdefault(_month(each.day), []).append(each)
    behind = {}
    for month, of_month in sorted(days.items()):
        stored = features.get(month[:4])
        if stored is None:
            continue  # what happened is not known
        state = state_of_month(of_month, stored.days(LABELS))
        if measured.get(month) not in ("", state):
            behind[month] = state
    return behind


def months_to_report_again(features: Mapping[str, Stored], reported: Mapping[str, int]) -> dict[str, str]:
    """The reported months before the newest whose features changed after their report.

    `reported` has the version of the features that each report was made from. A month is reported on for the first time
    when it has ended, by the clock; the newest month still grows.
    """
    newest = max((stored.last_day for stored in features.values() if stored.last_day is not None), default=date.min)
    changed: dict[str, int] = {}
    for stored in features.values():
        for day, version in stored.days(INPUTS).items():
            changed[_month(day)] = max(changed.get(_month(day), -1), version)
    return {
        month: f"features {changed[month]}"
        for month, read in reported.items()
        if month < _month(newest) and changed.get(month, -1) > read
    }


def forecast_runs(days: Mapping[str, Collection[date]]) -> list[tuple[StageRun, list[str]]]:
    """The runs that forecast the days of each target, with the targets of each: equal ranges share a run."""
    targets: dict[StageRun, list[str]] = {}
    for target, asked in days.items():
        for group in _consecutive(sorted({day.toordinal() for day in asked})):
            first, last = (date.fromordinal(group[at]).isoformat() for at in (0, -1))
            targets.setdefault(StageRun(FORECAST, first, last), []).append(target)
    return sorted(targets.items(), key=lambda run: run[0].first)


def skill_runs(months: Mapping[str, Collection[str]]) -> list[tuple[StageRun, list[str]]]:
    """The runs that measure the matured skill of each target's months, with the targets of each."""
    targets: dict[StageRun, list[str]] = {}
    for target, asked in months.items():
        for group in _consecutive(sorted({_month_number(month) for month in asked})):
            run = StageRun(WATCH, _month_key(group[0]), _month_key(group[-1]), only="matured_skill")
            targets.setdefault(run, []).append(target)
    return sorted(targets.items(), key=lambda run: run[0].first)


def drift_runs(months: Collection[str]) -> list[StageRun]:
    """The runs that report on the drift of these months."""
    groups = _consecutive(sorted({_month_number(month) for month in months}))
    return [StageRun(WATCH, _month_key(group[0]), _month_key(group[-1]), only="drift_report") for group in groups]


def spans(keys: Iterable[str]) -> list[tuple[str, str]]:
    """First and last of each group of partition keys (all years, months or days) that follow each other."""
    numbers = {_number(key): key for key in keys}
    return [(numbers[group[0]], numbers[group[-1]]) for group in _consecutive(sorted(numbers))]


def _number(key: str) -> int:
    parts = key.count("-")
    return int(key) if not parts else _month_number(key) if parts == 1 else date.fromisoformat(key).toordinal()


def _changed(stored: Stored | None, part: str, days: Collection[date]) -> int:
    """The newest version in which one of these days changed; -1 when that is not known."""
    return stored.days(part).newest(days) if stored is not None else -1


def year_runs(years: Iterable[str], only: str | None = None) -> list[StageRun]:
    """The runs of `process` over these years."""
    groups = _consecutive(sorted(map(int, years)))
    return [StageRun(PROCESS, str(group[0]), str(group[-1]), only) for group in groups]


def _month(day: date) -> str:
    return day.isoformat()[:7]


def _month_number(month: str) -> int:
    """Months since the year 0: those that follow each other have numbers that do."""
    return int(month[:4]) * 12 + int(month[5:]) - 1


def _month_key(number: int) -> str:
    return f"{number // 12:04}-{number % 12 + 1:02}"


def _consecutive(numbers: list[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
