"""The plan that materialises the whole graph: which stage job runs over which partitions, in which order.

What belongs here: the arithmetic of ranges, and the run config that goes with one. What does not: starting runs
(the CLI does, on the real instance).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from weather_platform.domain.features import HISTORY_DAYS
from weather_platform.domain.splits import days_needed, plan_split
from weather_platform.errors import NotEnoughDataError, SourceError
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


def cleaning_runs(received: Mapping[str, int], cleaned: Mapping[str, int]) -> list[StageRun]:
    """The runs that clean every year with a received month, and make its features.

    `received` maps months, and `cleaned` years, to the moment of their newest materialisation (Dagster's storage id): a
    year that was cleaned after all of its months is left alone.
    """
    stale = {month[:4] for month, at in received.items() if at > cleaned.get(month[:4], 0)}
    return _year_runs(stale, only=None)


def feature_runs(received: Mapping[str, int], made: Mapping[str, int], observed: Collection[str]) -> list[StageRun]:
    """The runs that make the features of years that a received month touches and that are older than it.

    January labels the last day of the year before, and December is the history of the next year's first days.
    `observed` are the years with observations: others have no features.
    """
    stale = {
        year
        for month, at in received.items()
        for year in _years_touched(month)
        if year in observed and at > made.get(year, 0)
    }
    return _year_runs(stale, only="features")


def days_to_forecast(
    newest_observed: date, changed: Iterable[date], forecast: Collection[date], first_days: int
) -> list[date]:
    """The days that one version has yet to forecast, or has to forecast again, ascending.

    `forecast` are the days that it has forecast. New are those after the newest of them: the newest `first_days`, and
    all from the first changed one on (not for a version without any). Again come those of them whose features look back
    on a changed day.
    """
    changed = list(changed)
    first = newest_observed - (first_days - 1) * _DAY
    if forecast:
        after = max(forecast) + _DAY
        first = max(after, min([first, *(day for day in changed if day >= after)]))
    new = {first + at * _DAY for at in range((newest_observed - first).days + 1)}
    touched = {day + at * _DAY for day in changed for at in range(HISTORY_DAYS + 1)}
    return sorted(new | (touched & set(forecast)))


def forecast_runs(days: Mapping[str, Collection[date]]) -> list[tuple[StageRun, list[str]]]:
    """The runs that forecast the days of each target, with the targets of each: equal ranges share a run."""
    targets: dict[StageRun, list[str]] = {}
    for target, asked in days.items():
        for group in _consecutive(sorted({day.toordinal() for day in asked})):
            first, last = (date.fromordinal(group[at]).isoformat() for at in (0, -1))
            targets.setdefault(StageRun(FORECAST, first, last), []).append(target)
    return sorted(targets.items(), key=lambda run: run[0].first)


def months_to_measure(changed: Iterable[date], forecast: Iterable[date]) -> list[str]:
    """The months whose matured skill is another one now: a changed day is the answer to the forecasts of the day
    before it, and `forecast` are days that were forecast meanwhile."""
    return sorted({_month(day - _DAY) for day in changed} | {_month(day) for day in forecast})


def skill_runs(months: Mapping[str, Collection[str]]) -> list[tuple[StageRun, list[str]]]:
    """The runs that measure the matured skill of each target's months, with the targets of each."""
    targets: dict[StageRun, list[str]] = {}
    for target, asked in months.items():
        for group in _consecutive(sorted({_month_number(month) for month in asked})):
            run = StageRun(WATCH, _month_key(group[0]), _month_key(group[-1]), only="matured_skill")
            targets.setdefault(run, []).append(target)
    return sorted(targets.items(), key=lambda run: run[0].first)


def _years_touched(month: str) -> list[str]:
    year = int(month[:4])
    others = {"01": year - 1, "12": year + 1}
    return [str(year), *([str(others[month[5:]])] if month[5:] in others else [])]


def _year_runs(years: Iterable[str], only: str | None) -> list[StageRun]:
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
