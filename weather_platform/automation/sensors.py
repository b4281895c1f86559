"""The sensor of the world outside of Dagster: `new_observations` requests `ingest` for what the source has new.

What belongs here: when to look at the source, and which runs to request. What does not: what counts as new
(``automation.updates``), the arithmetic of ranges (``automation.plan``), and receiving the rows (``assets.raw``).
"""

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Final

import dagster as dg
from pydantic import BaseModel, Field, ValidationError

from weather_platform.automation import plan, updates
from weather_platform.code_version import DISTRIBUTION
from weather_platform.lake import Lake
from weather_platform.lake.provenance import RAW_TABLE, refuse_other_source
from weather_platform.lake.station_days import StoredStationDays
from weather_platform.partitions import RANGE
from weather_platform.settings import Settings
from weather_platform.sources import Source
from weather_platform.sources.changes import content_digest, months_of
from weather_platform.stores import open_lake

STILL_SECONDS: Final = 1.0
"""Files that change within so many seconds are still being written, and wait for the next tick."""
REMEDY: Final = "add what holds them to the source, or let them go with `weather update --let-go`"
_CURSOR_VERSION: Final = 1


class Seen(BaseModel):
    """The cursor: what the sensor last acted on."""

    version: int = _CURSOR_VERSION
    stamp: str = ""
    code: str = ""
    """Version of the platform: another one may read the same files in another way."""
    requested: dict[str, str] = Field(default_factory=dict)
    """Months (YYYY-MM) that differed at the last comparison, with a digest of their rows and the stored ones."""
    covered: tuple[str, str] | None = None
    """First and last month that the source had."""
    remarks: list[str] = Field(default_factory=list)
    """What a person must know until the source changes again, a sentence each."""


def observation_sensors(settings: Settings, status: dg.DefaultSensorStatus) -> list[dg.SensorDefinition]:
    """The sensor `new_observations`."""

    @dg.sensor(
        name="new_observations",
        job_name=plan.INGEST,
        minimum_interval_seconds=settings.automation_interval_seconds,
        default_status=status,
        description=f"New or changed months of the {settings.source} source become runs of `{plan.INGEST}` over just "
        "those months. While no file changes, none is read.",
    )
    def new_observations(context: dg.SensorEvaluationContext, source: dg.ResourceParam[Source]) -> dg.SensorResult:
        seen = read_cursor(context.cursor)
        # Before the rows: a file that is written meanwhile is new at the next tick.
        stamp, code = source.stamp(), version(DISTRIBUTION)
        if (seen.stamp, seen.code) == (stamp, code):
            return _nothing(["the source has not changed", *seen.remarks])
        if _still_growing(source, stamp):
            return _nothing(["files of the source are still being written; the next tick looks again"])
        lake = open_lake(settings)
        refuse_other_source(lake, source)
        known = updates.settled(context.instance)
        if updates.is_settled(known, lake, stamp):
            now = Seen(stamp=stamp, code=code, covered=seen.covered)
            return _nothing(["all that the source has is stored"], cursor=now)
        now, requests = _compare(source, lake, seen)
        now = now.model_copy(update={"stamp": stamp, "code": code})
        for remark in now.remarks:
            context.log.warning(remark)
        if not requests:
            return _nothing(now.remarks or ["all that the source has is stored"], cursor=now)
        return dg.SensorResult(run_requests=requests, cursor=now.model_dump_json())

    return [new_observations]


def read_cursor(text: str | None) -> Seen:
    """What the cursor says. Without one, or with one of another version, everything is compared again."""
    try:
        seen = Seen.model_validate(json.loads(text)) if text else Seen()
    except (ValueError, ValidationError):
        return Seen()
    return seen if seen.version == _CURSOR_VERSION else Seen()


def _still_growing(source: Source, stamp: str) -> bool:
    if source.synthetic:
        return False
    time.sleep(STILL_SECONDS)
    return source.stamp() != stamp


def _compare(source: Source, lake: Lake, seen: Seen) -> tuple[Seen, list[dg.RunRequest]]:
    """What is requested of the source, and what is remembered of it."""
    covered = months_of(source.coverage())
    stored = lake.row_counts(RAW_TABLE, "month")
    changed = [change.month for change in updates.new_in(source, lake)]
    held = StoredStationDays(lake, changed, source.stations())
    catalogue = "\n".join(map(repr, source.stations()))
    requested: dict[str, str] = {}
    remarks = list(_vanished_months(stored, covered, seen.covered))
    wanted: list[str] = []
    for month in changed:
        rows = source.rows(month)
        # raw_observations would refuse it: a run that must fail is not requested.
        if lost := held.lost(month, rows):
            remarks.append(f"{lost}; {REMEDY}")
            continue
        before = lake.snapshot(RAW_TABLE).read(keys=[month]) if month in stored else rows.slice(0, 0)
        # What is stored is part of it: content that was taken back may come again, by the sensor or by an update.
        requested[month] = _digest(catalogue, content_digest(before), content_digest(rows))
        if seen.requested.get(month) == requested[month]:
            remarks.append(f"{month} was requested before and is not stored: its run is under way, or it failed")
        else:
            wanted.append(month)
    at = lake.version(RAW_TABLE) if lake.exists(RAW_TABLE) else 0
    requests = [_request(run, requested, at) for run in plan.ingest_runs(wanted)]
    return Seen(requested=requested, covered=(covered[0], covered[-1]), remarks=remarks), requests


def _vanished_months(stored: dict[str, int], covered: Sequence[str], before: tuple[str, str] | None) -> Iterator[str]:
    """A source may hold the newest days only; a month that it had at the last look and lost is worth a word."""
    if before is not None:
        gone = [
            month
            for month in sorted(stored)
            if before[0] <= month <= before[1] and not covered[0] <= month <= covered[-1]
        ]
        if gone:
            span = gone[0] if len(gone) == 1 else f"{gone[0]} to {gone[-1]}"
            yield f"{span} vanished from the source; what is stored stays"


def _request(run: plan.StageRun, digests: dict[str, str], lake_version: int) -> dg.RunRequest:
    """One run over a range. Dagster starts a run key once for ever; the version of the stored rows in it allows content
    that was taken back to come again."""
    months = [month for month in sorted(digests) if run.first <= month <= run.last]
    content = _digest(*(digests[month] for month in months))
    return dg.RunRequest(
        run_key=f"{run.first}..{run.last} {content} after version {lake_version}",
        tags=dict(zip(RANGE, (run.first, run.last), strict=True)),
    )


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def _nothing(reasons: Sequence[str], cursor: Seen | None = None) -> dg.SensorResult:
    return dg.SensorResult(skip_reason="; ".join(reasons), cursor=cursor.model_dump_json() if cursor else None)
