"""The plan that materialises the whole graph: which stage job runs over which partitions, in which order.

What belongs here: the arithmetic of ranges. What does not: starting runs (the CLI does, on the real instance).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from weather_platform.domain.splits import plan_split
from weather_platform.errors import SourceError
from weather_platform.sources import Coverage

INGEST, LEARN = "ingest", "learn"

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StageRun:
    """One Dagster run: a stage job over a range of partition keys, both inclusive."""

    job: str
    first: str
    last: str


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
        StageRun("process", str(first.year), str(last.year)),
        *(StageRun(LEARN, str(group[0]), str(group[-1])) for group in _consecutive(years)),
        StageRun("forecast", newest_days.isoformat(), last.isoformat()),
    ]


def refuse_years_without_split(coverage: Coverage, stored_months: Iterable[str], plan: Iterable[StageRun]) -> None:
    """NotEnoughDataError when a year of the plan cannot be trained, validated and tested on what is covered.

    What the lake holds already (its months, YYYY-MM) counts too: a source may hold the newest days alone.
    """
    first_day = min([coverage.first_day, *(date.fromisoformat(f"{month}-01") for month in stored_months)])
    newest_labelled = coverage.last_day - _DAY
    for run in plan:
        if run.job == LEARN:
            for year in range(int(run.first), int(run.last) + 1):
                plan_split(year, first_day, newest_labelled)


def _month(day: date) -> str:
    return day.isoformat()[:7]


def _consecutive(years: list[int]) -> list[list[int]]:
    groups: list[list[int]] = []
    for year in years:
        if groups and year == groups[-1][-1] + 1:
            groups[-1].append(year)
        else:
            groups.append([year])
    return groups
