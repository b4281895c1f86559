"""`weather retrain`: a person's request to train, carried out at once, and a person's veto.

Both go into the record that the monthly decision writes: the request with the decision that it makes and what came of
it, the veto as what holds later decisions back.
"""

import getpass
import os
from contextlib import closing
from datetime import date, timedelta

import dagster as dg

from weather_platform.automation.plan import LEARN, StageRun, newest_split
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.cli.reading import require_home
from weather_platform.cli.runs import execute
from weather_platform.database import Database, RetrainingRecord, RetrainingRequest
from weather_platform.domain.retraining import Facts, Rules, Wish, decide_retraining
from weather_platform.errors import PartitionMissingError, WeatherError
from weather_platform.resources.retraining import RETRAINING_TAG, record_failure
from weather_platform.settings import Settings
from weather_platform.stores import application_database, open_lake


def retrain(settings: Settings, target: str, why: str) -> list[str]:
    """Record the request and train the target on the newest data that are stored; the lines to print.

    WeatherError when the training fails, after that was recorded too.
    """
    require_home(settings)
    month = _newest(settings)
    with doing("making the asset graph"):
        definitions = build_definitions(settings)
    with open_instance(settings) as instance, closing(application_database(settings)) as database:
        database.migrate()
        record = _asked(database, settings, target, month, why)
        tags = {RETRAINING_TAG: str(record.id)}
        try:
            run, config = StageRun(LEARN, month[:4], month[:4]), newest_split(target, month)
            execute(definitions, instance, run, console_of_errors(), targets=[target], run_config=config, tags=tags)
        except (WeatherError, KeyboardInterrupt) as error:
            for failed in instance.get_runs(filters=dg.RunsFilter(tags=tags), limit=1):
                record_failure(instance, failed, str(error) or "interrupted", database)
            raise
        outcomes = {recorded.id: came for recorded, came in database.retraining(target)}[record.id]
    newest = outcomes[-1]
    said = f"{newest.outcome}{f' version {newest.version}' if newest.version else ''}: {newest.reason}"
    return [f"{target}: {said}", "`weather decisions` shows it with everything that was decided before"]


def veto(settings: Settings, target: str, months: int, why: str) -> str:
    """Record that the next monthly decisions start nothing, this month's included; the line to print."""
    require_home(settings)
    now = settings.now()
    until = _first_of_month(now.date(), months) - timedelta(days=1)
    with closing(application_database(settings)) as database:
        database.migrate()
        database.record_retraining_request(
            RetrainingRequest(target=target, kind="veto", why=why, who=_who(), until=until, at=now)
        )
    if not months:
        return f"{target}: no veto holds training back from now on"
    return f"{target}: no month's decision starts a training until {until}; `--veto --months 0` ends that earlier"


def _newest(settings: Settings) -> str:
    """The newest month with rows of the newest year with features."""
    lake = open_lake(settings)
    months = [month for month, rows in lake.row_counts("raw_observations", "month").items() if rows]
    years = [year for year, rows in lake.row_counts("features", "year").items() if rows]
    within = [month for month in months if month[:4] == max(years, default="")]
    if not within:
        raise PartitionMissingError("there are no features yet; `weather run` or `weather demo` makes them")
    return max(within)


def _asked(database: Database, settings: Settings, target: str, month: str, why: str) -> RetrainingRecord:
    """The recorded decision that a request makes."""
    at, who = settings.now(), _who()
    facts = Facts(month=month, wish=Wish(who, why))
    decision = decide_retraining(facts, Rules())
    _, record = database.record_retraining_request(
        RetrainingRequest(target=target, kind="retrain", why=why, who=who, until=None, at=at),
        RetrainingRecord(
            target=target,
            month=month,
            decision=decision.action,
            reasons=decision.reasons,
            notices=decision.notices,
            inputs=facts.to_dict(),
            dagster_run_id="",
            decided_at=at,
        ),
    )
    assert record is not None  # noqa: S101 - a decision was given
    return record


def _first_of_month(day: date, months: int) -> date:
    number = day.year * 12 + day.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def _who() -> str:
    """The account that runs the command; containers may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
