"""The schedules: what the clock asks for.

What belongs here: when to ask, and for which partitions. What does not: files that arrive (``automation.sensors``),
what follows from asset to asset (``automation.conditions``), and what old history is let go of
(``automation.housekeeping``).

Each schedule looks at what is there before it asks: it asks for nothing that is there, and once for what is not.
"""

from contextlib import closing
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import dagster as dg

from weather_platform.automation import plan
from weather_platform.automation.behind import DRIFT, FEATURES
from weather_platform.automation.housekeeping import HOUSEKEEPING
from weather_platform.domain.alias_moves import serving
from weather_platform.domain.targets import TARGETS
from weather_platform.io_managers.stored import NewestEvents, Stored, metadata_of, stored_by
from weather_platform.partitions import RANGE
from weather_platform.resources.registry import PRODUCTION
from weather_platform.settings import Settings
from weather_platform.stores import application_database

DAILY: Final = "0 12 * * *"
"""Noon: the reports of the day before are due by then."""
MORNING: Final = "0 6 * * *"
NIGHT: Final = "0 3 * * *"
_DAY: Final = timedelta(days=1)


def schedules(settings: Settings, status: dg.DefaultScheduleStatus) -> list[dg.ScheduleDefinition]:
    """`ask_for_reports`, `month_ended` and `housekeeping`, in the time zone of the settings."""
    stored = NewestEvents(stored_by)
    decided = NewestEvents(lambda record: metadata_of(record))

    @dg.schedule(
        name="ask_for_reports",
        job_name=plan.INGEST,
        cron_schedule=DAILY,
        execution_timezone=settings.timezone,
        default_status=status,
        description="At noon, when the reports of yesterday are not there: the source is asked for the months since "
        "the newest day, whether or not a file changed. So silence is noticed, and a run that failed is tried again.",
    )
    def ask_for_reports(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        today = _today(context, settings)
        newest = newest_observed(context.instance, stored)
        if newest is None:
            return dg.SkipReason("nothing is stored yet; `weather run` begins")
        if newest >= today - _DAY:
            return dg.SkipReason(f"the reports are there up to {newest}")
        yesterday = today - _DAY
        # A source that is silent for longer than a month is asked for the newest two.
        first, last = f"{max(newest + _DAY, (yesterday.replace(day=1) - _DAY)):%Y-%m}", f"{yesterday:%Y-%m}"
        return dg.RunRequest(run_key=f"{today} after {newest}", tags=dict(zip(RANGE, (first, last), strict=True)))

    @dg.schedule(
        name="month_ended",
        job_name=plan.WATCH,
        cron_schedule=MORNING,
        execution_timezone=settings.timezone,
        default_status=status,
        description="When a month is observed to its end, with the day after it: its drift report, its matured skill "
        "and the decisions whether to retrain, once.",
    )
    def month_ended(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        newest = newest_observed(context.instance, stored)
        if newest is None:
            return dg.SkipReason("nothing is stored yet; `weather run` begins")
        month = newest_answered_month(newest)
        keys = [DRIFT, *(dg.AssetKey([target, "retraining"]) for target in TARGETS)]
        if all(month in decided.of(context.instance, key) for key in keys):
            return dg.SkipReason(f"{month} is reported on and decided")
        if month[:4] not in stored.of(context.instance, FEATURES):
            return dg.SkipReason(f"no month is observed to its end yet; the newest day is {newest}")
        with closing(application_database(settings)) as database:
            database.migrate()
            unserved = [name for name in TARGETS if serving(database.alias_changes(name, PRODUCTION)) is None]
        if unserved:
            return dg.SkipReason(f"no Production model of {', '.join(unserved)}, so there is nothing to report on")
        return dg.RunRequest(run_key=month, tags=dict.fromkeys(RANGE, month))

    housekeeping = dg.ScheduleDefinition(
        name=HOUSEKEEPING,
        job_name=HOUSEKEEPING,
        cron_schedule=NIGHT,
        execution_timezone=settings.timezone,
        default_status=status,
        description="At night: lets go of what is older than the settings keep.",
    )
    return [ask_for_reports, month_ended, housekeeping]


def newest_answered_month(newest: date) -> str:
    """The newest month (YYYY-MM) that ended before this day, so that its last day has an answer."""
    return (newest.replace(day=1) - _DAY).isoformat()[:7]


def newest_observed(instance: dg.DagsterInstance, stored: NewestEvents[Stored]) -> date | None:
    """The newest day with a clean report; None when there is none."""
    days = [each.last_day for each in stored.of(instance, FEATURES).values() if each.last_day is not None]
    return max(days, default=None)


def _today(context: dg.ScheduleEvaluationContext, settings: Settings) -> date:
    """The local day of this tick; never the wall clock's."""
    moment: datetime = context.scheduled_execution_time
    return moment.astimezone(ZoneInfo(settings.timezone)).date()
