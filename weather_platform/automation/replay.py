"""A replay: days of a source that is already whole arrive one by one, through the real sensors and schedules.

What belongs here: a source that ends at the replayed day, and one look of every trigger, in the order of a day. What
does not: running what they ask for, and the report (the `weather` command).

The clock of a replay is the day that arrived: schedules are given it, decisions look at the data alone, and the source
ends there. So nothing of a later day can be seen.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from weather_platform.automation import plan
from weather_platform.automation.conditions import NAME as FOLLOW
from weather_platform.domain.stations import Station
from weather_platform.domain.targets import TARGETS
from weather_platform.partitions import ONE, RANGE
from weather_platform.settings import Settings
from weather_platform.sources import Coverage, Source

REPLAY_TAG: Final = "replay"
_DAY: Final = timedelta(days=1)
_MORNING_HOUR: Final = 6
_STAGES: Final = (plan.INGEST, plan.PROCESS, plan.FORECAST, plan.WATCH)


class ReplayedSource:
    """A source of which only the days up to `until` are there yet. The caller closes the whole one."""

    def __init__(self, whole: Source, until: date) -> None:
        self._whole = whole
        self._covered = whole.coverage()
        self.name, self.synthetic, self.generator = whole.name, whole.synthetic, whole.generator
        self.until = until
        self.recent_only = False
        """Whether it holds the newest two months alone, as a source may: what came before is stored."""

    def stations(self) -> tuple[Station, ...]:
        """The catalogue of the whole source."""
        return self._whole.stations()

    def stamp(self) -> str:
        """Another one each day."""
        return f"{self._whole.stamp()} up to {self.until}"

    def coverage(self) -> Coverage:
        """The days up to the replayed one."""
        month_before = (self.until.replace(day=1) - _DAY).replace(day=1)
        first = max(self._covered.first_day, month_before) if self.recent_only else self._covered.first_day
        return Coverage(first, self.until)

    def remarks(self) -> tuple[str, ...]:
        """What is said of the whole source."""
        return self._whole.remarks()

    def rows(self, month: str) -> pa.Table:
        """The rows of a month that are there yet. One whose day cannot be read is there when its month has begun."""
        rows = self._whole.rows(month)
        return rows.filter(pc.fill_null(pc.less_equal(rows["day"], self.until), True))

    def close(self) -> None:
        """Nothing: the whole source stays open to the end of the replay."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One run that a trigger asked for."""

    job: str
    assets: tuple[dg.AssetKey, ...] = ()
    """Empty: all of the job."""
    partitions: tuple[str, str] | None = None
    run_config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


class Triggers:
    """The sensors and schedules of a code location, looked at by hand and in order."""

    def __init__(self, settings: Settings, definitions: dg.Definitions, cursors: Mapping[str, str]) -> None:
        self._repository = definitions.get_repository_def()
        self._resources = {name: (definitions.resources or {})[name] for name in ("source", "database")}
        self._zone = ZoneInfo(settings.timezone)
        self.cursors = dict(cursors)
        names = {sensor.name for sensor in self._repository.sensor_defs}
        wanted = [f"{target}_{what}" for target in TARGETS for what in ("retraining", "recalibration")]
        self._decided = [name for name in wanted if name in names]

    def arrival(self, instance: dg.DagsterInstance) -> Iterator[Asked]:
        """What `new_observations` asks for."""
        yield from self._sensor(instance, "new_observations")

    def follow(self, instance: dg.DagsterInstance) -> list[Asked]:
        """What the conditions ask for."""
        return list(self._sensor(instance, FOLLOW))

    def decisions(self, instance: dg.DagsterInstance) -> Iterator[Asked]:
        """What open decisions ask for."""
        for name in self._decided:
            yield from self._sensor(instance, name)

    def outcomes(self, instance: dg.DagsterInstance) -> None:
        """Let it be recorded which trainings gave nothing."""
        list(self._sensor(instance, "retraining_outcomes"))

    def month_ended(self, instance: dg.DagsterInstance, day: date) -> Iterator[Asked]:
        """What the schedule `month_ended` asks for on the morning after a day."""
        morning = datetime.combine(day + _DAY, datetime.min.time(), self._zone).replace(hour=_MORNING_HOUR)
        schedule = self._repository.get_schedule_def("month_ended")
        with dg.build_schedule_context(
            instance, scheduled_execution_time=morning, repository_def=self._repository
        ) as context:
            for request in schedule.evaluate_tick(context).run_requests or ():
                yield _of_job(plan.WATCH, request)

    def _sensor(self, instance: dg.DagsterInstance, name: str) -> Iterator[Asked]:
        sensor = self._repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance,
            cursor=self.cursors.get(name),
            repository_def=self._repository,
            sensor_name=name,
            resources=self._resources,
        ) as context:
            ticked = sensor.evaluate_tick(context)
        if ticked.cursor is not None:
            self.cursors[name] = ticked.cursor
        for request in ticked.run_requests or ():
            if request.asset_graph_subset is not None:
                subset = request.asset_graph_subset
                for key in sorted(subset.asset_keys):
                    keys = subset.get_partitions_subset(key).get_partition_keys()
                    for span in plan.spans(keys):
                        yield Asked(job=self._stage_of(key), assets=(key,), partitions=span)
            elif name != FOLLOW:
                job = request.job_name or sensor.job_name
                assert job is not None, name  # noqa: S101 - each of them has one job
                yield _of_job(job, request)
            else:
                assets = tuple(_keys(request))
                partition = request.partition_key or ""
                yield Asked(job=self._stage_of(assets[0]), assets=assets, partitions=(partition, partition))

    def _stage_of(self, key: dg.AssetKey) -> str:
        for stage in _STAGES:
            if key in self._repository.get_job(stage).asset_layer.executable_asset_keys:
                return stage
        raise KeyError(key.to_user_string())


def together(asked: Iterable[Asked]) -> list[Asked]:
    """The same with one run for the assets of a job and a range, as Dagster's backfill makes it."""
    runs: dict[tuple[str, tuple[str, str] | None], list[dg.AssetKey]] = {}
    others: list[Asked] = []
    for each in asked:
        if each.assets and not each.run_config and not each.tags:
            runs.setdefault((each.job, each.partitions), []).extend(each.assets)
        else:
            others.append(each)
    merged = [Asked(job=job, assets=tuple(sorted(set(keys))), partitions=span) for (job, span), keys in runs.items()]
    order = {stage: at for at, stage in enumerate(_STAGES)}
    return sorted(merged, key=lambda each: (order[each.job], each.partitions or ("", ""))) + others


def _keys(request: dg.RunRequest) -> Iterator[dg.AssetKey]:
    for key in request.asset_selection or ():
        assert isinstance(key, dg.AssetKey)  # noqa: S101 - Dagster says so
        yield key


def _of_job(job: str, request: dg.RunRequest) -> Asked:
    tags = dict(request.tags or {})
    span = (tags.pop(RANGE[0], ""), tags.pop(RANGE[1], ""))
    if request.partition_key:
        span = (request.partition_key, request.partition_key)
    tags.pop(ONE, None)
    return Asked(
        job=job,
        assets=tuple(_keys(request)),
        partitions=span if span[0] else None,
        run_config=request.run_config or {},
        tags={name: value for name, value in tags.items() if not name.startswith("dagster/")},
    )
