"""Database: the small typed functions through which everything else uses the application database.

Each call is one transaction. `locked(target)` is the lock across processes under which an alias is compared
and moved: the only write lock of SQLite, an advisory lock of PostgreSQL; both fall with the process.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from weather_platform.database import predictions, retraining
from weather_platform.database.models import (
    AliasChangeRow,
    Base,
    DriftColumnRow,
    DriftReportRow,
    FailedLoginRow,
    ForecastDayRow,
    ForecastRow,
    LeaderboardEntryRow,
    PromotionDecisionRow,
    UserRow,
)
from weather_platform.database.outbox import Outbox
from weather_platform.database.records import (
    AliasChange,
    DriftRecord,
    FailedLogins,
    LoggedForecast,
    LogWriter,
    PromotionRecord,
    RetrainingOutcome,
    RetrainingRecord,
    RetrainingRequest,
    User,
)
from weather_platform.database.urls import parse_url, place
from weather_platform.domain.alias_moves import PRODUCTION
from weather_platform.domain.drift import ColumnDrift, DriftVerdict
from weather_platform.domain.forecast_days import ForecastDay
from weather_platform.domain.notices import (
    DEPARTURE_CAUSE,
    DRIFT_CAUSE,
    RETRAINING_UNKNOWN_CAUSE,
    departed,
    drifted,
    not_promoted,
    production_moved,
    retraining_decided,
)
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.retraining import Action, Outcome
from weather_platform.errors import MAKE_ROOM, InvariantError, WeatherError, is_full
from weather_platform.folders import alone, unusable

if TYPE_CHECKING:  # they bring the algorithms: a process that only migrates or looks up users does without
    from weather_platform.domain.leaderboard import Entry
    from weather_platform.domain.matured import Matured


def _field(name: str, kind: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


FORECASTS_SCHEMA = pa.schema(
    [
        _field("target", pa.string(), "What is forecast", nullable=False),
        _field("station", pa.string(), "Id of the station", nullable=False),
        _field("day", pa.date32(), "Issue day: the forecast speaks of the next one", nullable=False),
        _field("model_version", pa.int64(), "Version of the model in the registry", nullable=False),
        _field(
            "kind",
            pa.string(),
            "live, or hindcast for a day inside what the model was trained, tuned or tested on",
            nullable=False,
        ),
        _field("model_digest", pa.string(), "SHA-256 of the model", nullable=False),
        _field("feature_version", pa.string(), "Version of the features it was made from", nullable=False),
        _field("probability", pa.float64(), "Chance of yes"),
        _field("threshold", pa.float64(), "Probability from which the answer is yes"),
        _field("label", pa.bool_(), "The answer, yes or no"),
        _field("value", pa.float64(), "Forecast in the unit of the target"),
        _field("value_low", pa.float64(), "Lower end of its 90 % interval"),
        _field("value_high", pa.float64(), "Upper end of its 90 % interval"),
        _field("issued_at", pa.timestamp("us", tz="UTC"), "When the run that made it was started", nullable=False),
        _field("dagster_run_id", pa.string(), "The run that made it", nullable=False),
    ]
)
FORECAST_KEY = ("target", "station", "day", "model_version")

_OF_PROBABILITY = ("probability", "threshold", "label")
_OF_VALUE = ("value", "value_low", "value_high")
_NUMBERS = ("probability", "threshold", *_OF_VALUE)

_ROWS_PER_STATEMENT = 5_000
_BUSY_SECONDS = 60
_CONNECT_SECONDS = 5
_MIGRATION_LOCK = 20071101

_FORECASTS = Base.metadata.tables[ForecastRow.__tablename__]
_FORECAST_DAYS = Base.metadata.tables[ForecastDayRow.__tablename__]
_DECISIONS = Base.metadata.tables[PromotionDecisionRow.__tablename__]
_LEADERBOARD = Base.metadata.tables[LeaderboardEntryRow.__tablename__]
_ALIAS_CHANGES = Base.metadata.tables[AliasChangeRow.__tablename__]
_DRIFT_REPORTS = Base.metadata.tables[DriftReportRow.__tablename__]
_DRIFT_COLUMNS = Base.metadata.tables[DriftColumnRow.__tablename__]
_USERS = Base.metadata.tables[UserRow.__tablename__]
_FAILED_LOGINS = Base.metadata.tables[FailedLoginRow.__tablename__]


@dataclass(frozen=True)
class TargetLedger:
    """What may be read and written while one target is locked; all of it commits with the lock's end."""

    target: str
    connection: sa.Connection

    def latest_alias_change(self, alias: str) -> AliasChange | None:
        """The newest recorded move of this alias of the target."""
        return next(iter(_alias_changes(self.connection, self.target, alias, newest_only=True)), None)

    def record_alias_change(self, change: AliasChange) -> AliasChange:
        """Append one move; gives it back with its id."""
        if change.target != self.target:
            raise InvariantError(f"{change.target} is not the locked target {self.target}; lock it first")
        recorded = replace(change, id=_append(self.connection, _ALIAS_CHANGES, _plain(change)))
        if change.alias == PRODUCTION:
            Outbox(self.connection).open(
                production_moved(
                    target=change.target,
                    from_version=change.from_version,
                    to_version=change.to_version,
                    reason=change.reason,
                    cause=f"alias change {recorded.id}",
                    run_id=change.dagster_run_id,
                    at=change.changed_at,
                )
            )
        return recorded


@dataclass(frozen=True)
class LoginLedger:
    """The failed logins of one account while it is locked; what is written commits with the lock's end."""

    account: str
    connection: sa.Connection

    def failed(self) -> FailedLogins | None:
        """What is kept of the account; None if its last login was right, or there was none."""
        return _failed_logins(self.connection, self.account)

    def write(self, failed: FailedLogins | None, *, forget_before: datetime) -> None:
        """Keep this of the account (None: nothing), and drop what is kept of accounts that failed last before."""
        columns = _FAILED_LOGINS.c
        # Rows that another login holds are left to it: waiting for them here could be waiting for each other.
        old = sa.select(columns.account).where(columns.last_failed_at < forget_before).with_for_update(skip_locked=True)
        self.connection.execute(sa.delete(_FAILED_LOGINS).where(columns.account == self.account))
        self.connection.execute(sa.delete(_FAILED_LOGINS).where(columns.account.in_(old)))
        if failed is not None:
            self.connection.execute(sa.insert(_FAILED_LOGINS).values(account=self.account, **asdict(failed)))


class Database:
    """The application database behind one SQLAlchemy URL. Connects at first use; threads may share it."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)

    def __repr__(self) -> str:
        # Without the query: the password of a client key may stand there.
        return f"Database({self._url.set(query={}).render_as_string(hide_password=True)!r})"

    @cached_property
    def engine(self) -> sa.Engine:
        """For migrations and tests; everything else goes through the methods."""
        if self._url.get_backend_name() == "sqlite":
            folder = self._file.parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unusable(folder, error) from None
            engine = sa.create_engine(self._url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True)
            sa.event.listen(engine, "connect", _prepare_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
            return engine
        return sa.create_engine(
            self._url,
            connect_args={"connect_timeout": _CONNECT_SECONDS},
            pool_pre_ping=True,
            executemany_mode="values_plus_batch",  # one round trip per 500 rows, not per row
            executemany_batch_page_size=500,
            hide_parameters=True,
        )

    @property
    def _file(self) -> Path:
        """The file of SQLite."""
        assert self._url.database is not None, "parse_url refuses SQLite without a file"  # noqa: S101
        return Path(self._url.database)

    def close(self) -> None:
        """Give back all connections. The object can be used again."""
        self.engine.dispose()

    def require_current(self) -> None:
        """WeatherError unless the tables are of this version of the code. For commands that only read."""
        with self._transaction() as connection:
            found, newest = _revision(connection) or "0000", newest_revision()
        if found < newest:
            raise WeatherError(
                f"{place(self._url)} is of an older version of this package (layout {found}, now {newest}); "
                "`weather forecast` brings it up to date, and so does every command that writes"
            )
        if found > newest:
            raise WeatherError(
                f"{place(self._url)} is of a newer version of this package (layout {found}, here {newest}); "
                "use that version, or another WEATHER_HOME"
            )

    def migrate(self) -> None:
        """Bring the tables to this version of the code; of several processes at once, one does the work."""
        on_disk = self._url.get_backend_name() == "sqlite"
        if not on_disk or self._file.exists():
            with self._transaction() as connection:
                if _revision(connection) == newest_revision():
                    return
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", "weather_platform:database/migrations")
        with alone(self._file.parent) if on_disk else nullcontext(), self._transaction(writing=True) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise WeatherError(
                    f"{place(self._url)} was migrated by another version of this package ({error}); "
                    "use that version, or another database"
                ) from error

    @contextmanager
    def locked(self, target: str) -> Iterator[TargetLedger]:
        """Hold the one lock of this target, across processes, to the end of the block; then commit."""
        with self._transaction(writing=True) as connection:
            _only_one(connection, f"weather target {target}")
            yield TargetLedger(target, connection)

    def replace_forecasts(
        self,
        target: str,
        model_version: int,
        first_day: date,
        last_day: date,
        forecasts: pa.Table,
        *,
        features_lake_version: int | None = None,
    ) -> int:
        """Write all forecasts of one version for these days (inclusive); those that are not among them any more go.

        `features_lake_version` is the version of the features table that they were made from.
        """
        rows = _checked_forecasts(forecasts)
        _must_belong(rows, target, model_version, first_day, last_day)
        issued = Counter(rows["day"].to_pylist())
        days = [
            {
                "target": target,
                "day": day,
                "model_version": model_version,
                "forecasts": issued[day],
                "features_lake_version": features_lake_version,
            }
            for day in (first_day + timedelta(days=at) for at in range((last_day - first_day).days + 1))
        ]
        with self._transaction(writing=True) as connection:
            for table in (_FORECASTS, _FORECAST_DAYS):
                of_version = (table.c.target == target, table.c.model_version == model_version)
                connection.execute(sa.delete(table).where(*of_version, table.c.day.between(first_day, last_day)))
            _write_forecasts(connection, rows)
            connection.execute(sa.insert(_FORECAST_DAYS), days)
        return int(rows.num_rows)

    def forecasts(
        self,
        target: str,
        first_day: date,
        last_day: date,
        *,
        station: str | None = None,
        model_version: int | None = None,
    ) -> pa.Table:
        """Forecasts of the days from first_day to last_day (inclusive), by day, station and version."""
        columns = _FORECASTS.c
        query = (
            sa.select(*(columns[name] for name in FORECASTS_SCHEMA.names))
            .where(columns.target == target, columns.day.between(first_day, last_day))
            .order_by(columns.day, columns.station, columns.model_version)
        )
        if station is not None:
            query = query.where(columns.station == station)
        if model_version is not None:
            query = query.where(columns.model_version == model_version)
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        values = list(zip(*rows, strict=True)) if rows else [()] * len(FORECASTS_SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(values, FORECASTS_SCHEMA, strict=True)]
        return pa.Table.from_arrays(arrays, schema=FORECASTS_SCHEMA)

    def record_decision(self, record: PromotionRecord, *, retraining_decision: int | None = None) -> PromotionRecord:
        """Append one decision; gives it back with its id.

        It is the outcome of `retraining_decision`, the decision to train that its run carries out; None without one.
        """
        with self._transaction(writing=True) as connection:
            recorded = replace(record, id=_append(connection, _DECISIONS, _plain(record)))
            if retraining_decision is not None:
                outcome = RetrainingOutcome(
                    decision_id=retraining_decision,
                    outcome=Outcome(record.decision),
                    version=record.challenger_version,
                    reason=record.reasons[0],
                    dagster_run_id=record.dagster_run_id,
                    at=record.decided_at,
                )
                retraining.append_outcome(connection, outcome)
                if record.decision is not Verdict.DEPLOY:  # else its move of Production is a notice
                    Outbox(connection).open(
                        not_promoted(
                            target=record.target,
                            version=record.challenger_version,
                            outcome=record.decision,
                            reason=record.reasons[0],
                            cause=f"retraining decision {retraining_decision}",
                            run_id=record.dagster_run_id,
                            at=record.decided_at,
                        )
                    )
            return recorded

    def decisions(self, target: str) -> list[PromotionRecord]:
        """All decisions of the target, oldest first."""
        with self._transaction() as connection:
            return _decisions(connection, sa.select(_DECISIONS).where(_DECISIONS.c.target == target))

    def latest_decision(self, target: str, decision: Verdict | None = None) -> PromotionRecord | None:
        """The newest decision of the target, or its newest DEPLOY, SKIP or REJECT."""
        query = sa.select(_DECISIONS).where(_DECISIONS.c.target == target)
        if decision is not None:
            query = query.where(_DECISIONS.c.decision == decision)
        newest = query.order_by(_DECISIONS.c.id.desc()).limit(1).subquery()
        with self._transaction() as connection:
            return next(iter(_decisions(connection, sa.select(newest))), None)

    def record_retraining_request(
        self, request: RetrainingRequest, decided: RetrainingRecord | None = None
    ) -> tuple[RetrainingRequest, RetrainingRecord | None]:
        """Append what a person said, and the decision that it makes if there is one; gives both back with their ids."""
        with self._transaction(writing=True) as connection:
            request = replace(request, id=retraining.append_request(connection, request))
            if decided is not None:
                decided = replace(decided, request_id=request.id)
                decided = replace(decided, id=retraining.append_decision(connection, decided))
                _tell_of_retraining(Outbox(connection), decided)
            return request, decided

    def retraining_requests(self, target: str) -> list[RetrainingRequest]:
        """Everything that people said of retraining the target, oldest first."""
        with self._transaction() as connection:
            return retraining.requests(connection, target)

    def record_retraining_decision(self, record: RetrainingRecord) -> RetrainingRecord:
        """Append one decision whether to retrain; gives it back with its id."""
        with self._transaction(writing=True) as connection:
            record = replace(record, id=retraining.append_decision(connection, record))
            _tell_of_retraining(Outbox(connection), record)
            return record

    def record_retraining_outcome(self, outcome: RetrainingOutcome) -> None:
        """Append what came of a decision to retrain; the same outcome of the same run a second time changes nothing."""
        with self._transaction(writing=True) as connection:
            retraining.append_outcome(connection, outcome)

    def retraining(self, target: str) -> list[tuple[RetrainingRecord, list[RetrainingOutcome]]]:
        """All decisions whether to retrain the target with what came of each, oldest first."""
        with self._transaction() as connection:
            found = retraining.outcomes(connection, target)
            return [(record, found.get(record.id or 0, [])) for record in retraining.decisions(connection, target)]

    def replace_leaderboard(
        self, target: str, year: int, entries: "Sequence[Entry]", *, dagster_run_id: str, made_at: datetime
    ) -> None:
        """Write the board of a target and test year in place of the one that is there, all of it or nothing."""
        columns = _LEADERBOARD.c
        made = {"target": target, "year": year, "dagster_run_id": dagster_run_id, "made_at": made_at}
        with self._transaction(writing=True) as connection:
            connection.execute(sa.delete(_LEADERBOARD).where(columns.target == target, columns.year == year))
            if entries:
                connection.execute(sa.insert(_LEADERBOARD), [asdict(entry) | made for entry in entries])

    def leaderboard(self, target: str, year: int) -> "list[Entry]":
        """The board of a target and test year: candidates by rank, then baselines by name; none if none was made."""
        from weather_platform.domain.leaderboard import Entry

        columns = _LEADERBOARD.c
        query = (
            sa.select(*(columns[field.name] for field in fields(Entry)))
            .where(columns.target == target, columns.year == year)
            .order_by(columns.rank.nulls_last(), columns.name)
        )
        with self._transaction() as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]

    def leaderboards(self, target: str) -> "dict[int, list[Entry]]":
        """The boards of all test years that have one, the oldest year first."""
        query = sa.select(_LEADERBOARD.c.year).where(_LEADERBOARD.c.target == target).distinct()
        with self._transaction() as connection:
            years: list[int] = sorted(connection.execute(query).scalars())
        return {year: self.leaderboard(target, year) for year in years}

    def alias_changes(self, target: str, alias: str) -> list[AliasChange]:
        """All recorded moves of one alias of the target, oldest first."""
        with self._transaction() as connection:
            return _alias_changes(connection, target, alias)

    def replace_matured_skill(
        self, target: str, month: str, matured: "Matured", *, measured_at: datetime, dagster_run_id: str
    ) -> None:
        """Write what the forecasts of one month were worth instead of what is there, all of it or nothing."""
        from weather_platform.database import matured as matured_rows

        matured_rows.require_month(target, month, matured)
        stamp = {"measured_at": measured_at, "dagster_run_id": dagster_run_id}
        with self._transaction(writing=True) as connection:
            matured_rows.replace_month(connection, target, month, matured, stamp)

    def matured_skill(self, target: str, first_month: str | None = None, last_month: str | None = None) -> "Matured":
        """What was written for these months (inclusive; of all time without them)."""
        from weather_platform.database import matured as matured_rows

        with self._transaction() as connection:
            return matured_rows.read_months(connection, target, first_month, last_month)

    def newest_forecast_day(self, target: str, model_version: int) -> date | None:
        """The newest issue day that this version has forecast; None when it has forecast none."""
        columns = _FORECASTS.c
        asked = (columns.target == target, columns.model_version == model_version)
        with self._transaction() as connection:
            newest: date | None = connection.execute(sa.select(sa.func.max(columns.day)).where(*asked)).scalar_one()
        return newest

    def forecast_days(self, target: str) -> list[ForecastDay]:
        """Every issue day that a version has forecast, also those on which no station reported, by day and version."""
        columns = _FORECAST_DAYS.c
        query = (
            sa.select(columns.day, columns.model_version, columns.forecasts, columns.features_lake_version)
            .where(columns.target == target)
            .order_by(columns.day, columns.model_version)
        )
        with self._transaction() as connection:
            return [ForecastDay(**row) for row in connection.execute(query).mappings()]

    def count_forecasts(self, target: str, first_day: date, last_day: date) -> int:
        """How many forecasts of these days (inclusive) there are, of all versions."""
        columns = _FORECASTS.c
        asked = (columns.target == target, columns.day.between(first_day, last_day))
        with self._transaction() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(*asked)).scalar_one())

    def replace_drift(self, record: DriftRecord) -> None:
        """Write what a month said of drift; what it said before goes."""
        month = record.verdict.month
        values = record.verdict.to_dict() | {field.name: getattr(record, field.name) for field in fields(record)}
        values["departures"] = record.departures.to_dict() if record.departures else None
        report = {name: values[name] for name in _DRIFT_REPORTS.c.keys()}  # noqa: SIM118 - these are no dict
        columns = [
            {"month": month, "position": position, **column} for position, column in enumerate(values["columns"])
        ]
        with self._transaction(writing=True) as connection:
            connection.execute(sa.delete(_DRIFT_COLUMNS).where(_DRIFT_COLUMNS.c.month == month))
            connection.execute(sa.delete(_DRIFT_REPORTS).where(_DRIFT_REPORTS.c.month == month))
            connection.execute(sa.insert(_DRIFT_REPORTS), [report])
            connection.execute(sa.insert(_DRIFT_COLUMNS), columns)
            if connection.execute(sa.select(sa.func.max(_DRIFT_REPORTS.c.month))).scalar_one() == month:
                _tell_of_drift(Outbox(connection), record)
                _tell_of_departures(Outbox(connection), record)

    def drift(self, months: Iterable[str] | None = None) -> dict[str, DriftRecord]:
        """What these months (or all) said of drift, in ascending order; a month without a report is left out."""
        reports, columns = sa.select(_DRIFT_REPORTS), sa.select(_DRIFT_COLUMNS)
        if months is not None:
            asked = list(months)
            reports = reports.where(_DRIFT_REPORTS.c.month.in_(asked))
            columns = columns.where(_DRIFT_COLUMNS.c.month.in_(asked))
        with self._transaction() as connection:
            found: dict[str, list[ColumnDrift]] = {}
            for row in connection.execute(columns.order_by("month", "position")).mappings():
                values = {name: value for name, value in row.items() if name not in ("month", "position")}
                found.setdefault(row["month"], []).append(ColumnDrift(**values))
            return {
                row["month"]: _drift_record(dict(row), found.get(row["month"], []))
                for row in connection.execute(reports.order_by("month")).mappings()
            }

    def add_user(self, user: User) -> bool:
        """Add a user; False, and nothing is changed, if there is one of that name."""
        taken = sa.select(sa.exists().where(_USERS.c.name == user.name))
        with self._transaction(writing=True) as connection:
            _only_one(connection, "weather users")
            if connection.execute(taken).scalar_one():
                return False
            connection.execute(sa.insert(_USERS).values(asdict(user)))
        return True

    def user(self, name: str) -> User | None:
        """The user of that name."""
        with self._transaction() as connection:
            return next(iter(_users(connection, sa.select(_USERS).where(_USERS.c.name == name))), None)

    def users(self) -> list[User]:
        """All users by name."""
        with self._transaction() as connection:
            return _users(connection, sa.select(_USERS).order_by(_USERS.c.name))

    def set_user_disabled(self, name: str, disabled: bool) -> bool:
        """Disable a user, or let it in again; False if there is none of that name. Tokens of before stay ended."""
        return self._change_user(name, {"disabled": disabled})

    def set_user_password(self, name: str, password_hash: str) -> bool:
        """Give a user another password, which ends its tokens; False if there is none of that name."""
        return self._change_user(name, {"password_hash": password_hash})

    def set_user_scopes(self, name: str, scopes: Sequence[str]) -> bool:
        """Let a user do this and nothing else, which ends its tokens; False if there is none of that name."""
        return self._change_user(name, {"scopes": list(scopes)})

    def delete_user(self, name: str) -> bool:
        """Forget a user; False if there is none of that name."""
        with self._transaction(writing=True) as connection:
            return connection.execute(sa.delete(_USERS).where(_USERS.c.name == name)).rowcount > 0

    def failed_logins(self, account: str) -> FailedLogins | None:
        """What is kept of failed logins to the account."""
        with self._transaction() as connection:
            return _failed_logins(connection, account)

    @contextmanager
    def login_locked(self, account: str) -> Iterator[LoginLedger]:
        """Hold the one lock of this account, across processes, to the end of the block; then commit."""
        with self._transaction(writing=True) as connection:
            _only_one(connection, f"weather login {account}")
            yield LoginLedger(account, connection)

    def _change_user(self, name: str, values: dict[str, Any]) -> bool:
        change = sa.update(_USERS).where(_USERS.c.name == name).values(values | {"generation": _USERS.c.generation + 1})
        with self._transaction(writing=True) as connection:
            return connection.execute(change.returning(_USERS.c.name)).first() is not None

    def append_predictions(self, writer: LogWriter, forecasts: Sequence[LoggedForecast]) -> None:
        """Write answers of the endpoint and count them in the account of their writer, all of it or nothing.

        They are the next ones after `writer.written`; a second call with the same ones changes nothing.
        """
        with self._transaction(writing=True) as connection:
            predictions.append(connection, writer, forecasts)

    def settle_predictions(self, writer: LogWriter, accepted: int, ended_at: datetime) -> int:
        """Close the account of a writer that took `accepted` answers; gives how many of them were lost."""
        with self._transaction(writing=True) as connection:
            return predictions.settle(connection, writer, accepted, ended_at)

    def forget_predictions(self, before: datetime, limit: int) -> int:
        """Delete logged answers from before this moment, the oldest first and at most so many; gives how many."""
        with self._transaction(writing=True) as connection:
            return predictions.forget(connection, before, limit)

    def predictions(
        self, *, request_id: str | None = None, target: str | None = None, newest: int | None = None
    ) -> list[LoggedForecast]:
        """Logged answers in the order of writing: of a request, of a target, or only so many of the newest."""
        with self._transaction() as connection:
            return predictions.read(connection, request_id=request_id, target=target, newest=newest)

    def prediction_log_writers(self) -> list[LogWriter]:
        """The accounts of all processes that ever wrote the prediction log, oldest first."""
        with self._transaction() as connection:
            return predictions.writers(connection)

    @contextmanager
    def outbox(self, *, writing: bool = True) -> Iterator[Outbox]:
        """Notices and their deliveries, to the end of the block; then commit."""
        with self._transaction(writing=writing) as connection:
            yield Outbox(connection)

    @contextmanager
    def _transaction(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        """One transaction; whatever the driver raises becomes one line without a password."""
        try:
            with self.engine.execution_options(weather_writing=writing).begin() as connection:
                yield connection
        except (IntegrityError, DataError) as error:
            raise InvariantError(
                f"{place(self._url)} refused the rows: {_first_line(error)}; nothing was written"
            ) from error
        except DBAPIError as error:
            raise WeatherError(f"{place(self._url)}: {_first_line(error)}; {_remedy(error, self._url)}") from error
        except SQLAlchemyError as error:
            raise WeatherError(f"{place(self._url)}: {_first_line(error)}; see the cause above") from error


def _tell_of_drift(outbox: Outbox, record: DriftRecord) -> None:
    """Open the notice of the newest month, and end those of drift that it does not show any more."""
    notice = drifted(record.verdict, run_id=record.dagster_run_id, at=record.reported_at)
    if notice is None and record.verdict.status != "none":
        return
    for cause in outbox.open_causes(DRIFT_CAUSE):
        if notice is None or cause != notice.cause:
            outbox.resolve(cause, record.reported_at)
    if notice is not None:
        outbox.open(notice)


def _tell_of_departures(outbox: Outbox, record: DriftRecord) -> None:
    """Open a notice for each station that departs from its neighbours in the newest month, and end those of others.

    A month that is not known, or that the models have learned from, says nothing about a station.
    """
    verdict = record.departures
    if verdict is None or verdict.status == "unknown" or record.verdict.hindcast:
        return
    notices = departed(verdict, run_id=record.dagster_run_id, at=record.reported_at)
    for cause in outbox.open_causes(DEPARTURE_CAUSE):
        if cause not in {notice.cause for notice in notices}:
            outbox.resolve(cause, record.reported_at)
    for notice in notices:
        outbox.open(notice)


def _tell_of_retraining(outbox: Outbox, record: RetrainingRecord) -> None:
    """Open the notice of a decision, and end the one that the decision was not known."""
    notice = retraining_decided(
        target=record.target,
        month=record.month,
        action=record.decision,
        reasons=record.reasons,
        cause=f"decision {record.id}",
        run_id=record.dagster_run_id,
        at=record.decided_at,
    )
    if record.decision is not Action.UNKNOWN:
        outbox.resolve(f"{RETRAINING_UNKNOWN_CAUSE}{record.target}", record.decided_at)
    if notice is not None:
        outbox.open(notice)


def newest_revision() -> str:
    """The number in the name of the newest migration. Alembic would take half a second of every start to say it."""
    return max(path.name[1:5] for path in (Path(__file__).parent / "migrations" / "versions").glob("r*.py"))


def _revision(connection: sa.Connection) -> str | None:
    """The newest migration that these tables went through; None before the first."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def _prepare_sqlite(connection: Any, _record: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions of its own accord: `begin` below says which kind is wanted.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {_BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "foreign_keys = ON",
        "synchronous = NORMAL",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the write lock at once: a reader that turns writer later can fail without waiting.
    writing = connection.get_execution_options().get("weather_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _only_one(connection: sa.Connection, name: str) -> None:
    """Wait until nobody else holds the lock of this name; it falls with the transaction. SQLite has one writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_BUSY_SECONDS}s'"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(name, 0))))


def _write_forecasts(connection: sa.Connection, rows: pa.Table) -> None:
    # One order for everybody: the same result whatever came in, and no deadlock between two writers.
    rows = rows.sort_by([(name, "ascending") for name in FORECAST_KEY])
    statement = _upsert(connection.dialect.name)
    for start in range(0, rows.num_rows, _ROWS_PER_STATEMENT):
        connection.execute(statement, rows.slice(start, _ROWS_PER_STATEMENT).to_pylist())


def _upsert(dialect: str) -> sqlite.Insert | postgresql.Insert:
    insert = postgresql.insert(_FORECASTS) if dialect == "postgresql" else sqlite.insert(_FORECASTS)
    changed = {name: insert.excluded[name] for name in FORECASTS_SCHEMA.names if name not in FORECAST_KEY}
    return insert.on_conflict_do_update(index_elements=list(FORECAST_KEY), set_=changed)


def _checked_forecasts(forecasts: pa.Table) -> pa.Table:
    if sorted(forecasts.column_names) != sorted(FORECASTS_SCHEMA.names):
        wrong = sorted(set(forecasts.column_names) ^ set(FORECASTS_SCHEMA.names)) or ["(one twice)"]
        raise InvariantError(f"forecasts have other columns than the table: {', '.join(wrong)}; nothing was written")
    for field in FORECASTS_SCHEMA:
        if not field.nullable and (missing := forecasts[field.name].null_count):
            raise InvariantError(f"{missing} forecasts have no {field.name}; nothing was written")
    rows = forecasts.select(FORECASTS_SCHEMA.names).cast(FORECASTS_SCHEMA)
    if rows.group_by(list(FORECAST_KEY)).aggregate([]).num_rows != rows.num_rows:
        raise InvariantError("two forecasts have the same target, station, day and model version; nothing was written")
    # PostgreSQL takes NaN for larger than any number, SQLite stores it as NULL: say it the same way for both.
    for name in _NUMBERS:
        if pc.any(pc.is_nan(rows[name])).as_py():
            raise InvariantError(f"a forecast has NaN as {name}; nothing was written")
    of_probability, of_value = (_held(rows, names) for names in (_OF_PROBABILITY, _OF_VALUE))
    whole = pc.or_(
        pc.and_(pc.equal(of_probability, len(_OF_PROBABILITY)), pc.equal(of_value, 0)),
        pc.and_(pc.equal(of_probability, 0), pc.equal(of_value, len(_OF_VALUE))),
    )
    if not pc.all(whole, min_count=0).as_py():
        raise InvariantError(
            f"a forecast has neither all of {', '.join(_OF_PROBABILITY)} nor all of {', '.join(_OF_VALUE)}, "
            "or some of both; nothing was written"
        )
    return rows


def _held(rows: pa.Table, names: tuple[str, ...]) -> pa.ChunkedArray:
    """How many of these columns each row has."""
    return reduce(pc.add, (rows[name].is_valid().cast(pa.int64()) for name in names))


def _must_belong(rows: pa.Table, target: str, model_version: int, first_day: date, last_day: date) -> None:
    inside = pc.and_(
        pc.and_(pc.equal(rows["target"], target), pc.equal(rows["model_version"], model_version)),
        pc.and_(pc.greater_equal(rows["day"], first_day), pc.less_equal(rows["day"], last_day)),
    )
    if not pc.all(inside, min_count=0).as_py():
        raise InvariantError(
            f"a forecast is not of {target} version {model_version}, {first_day} to {last_day}; nothing was written"
        )


def _plain(record: PromotionRecord | AliasChange) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record) if field.name != "id"}


def _append(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> int:
    return int(connection.execute(sa.insert(table).values(values).returning(table.c.id)).scalar_one())


def _decisions(connection: sa.Connection, query: sa.Select[Any]) -> list[PromotionRecord]:
    rows = connection.execute(query.order_by("id")).mappings()
    return [
        PromotionRecord(**{**row, "decision": Verdict(row["decision"]), "reasons": tuple(row["reasons"])})
        for row in rows
    ]


def _alias_changes(
    connection: sa.Connection, target: str, alias: str, *, newest_only: bool = False
) -> list[AliasChange]:
    columns = _ALIAS_CHANGES.c
    query = sa.select(_ALIAS_CHANGES).where(columns.target == target, columns.alias == alias)
    query = query.order_by(columns.id.desc()).limit(1) if newest_only else query.order_by(columns.id)
    return [AliasChange(**dict(row)) for row in connection.execute(query).mappings()]


def _users(connection: sa.Connection, query: sa.Select[Any]) -> list[User]:
    return [User(**{**row, "scopes": tuple(row["scopes"])}) for row in connection.execute(query).mappings()]


def _failed_logins(connection: sa.Connection, account: str) -> FailedLogins | None:
    row = connection.execute(sa.select(_FAILED_LOGINS).where(_FAILED_LOGINS.c.account == account)).mappings().first()
    return FailedLogins(**{name: value for name, value in row.items() if name != "account"}) if row else None


def _drift_record(row: dict[str, Any], columns: Iterable[ColumnDrift]) -> DriftRecord:
    told = {field.name: row.pop(field.name) for field in fields(DriftVerdict) if field.name != "columns"}
    told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    known = row.pop("departures")
    departures = None
    if known:
        from weather_platform.domain.departures import DepartureVerdict

        departures = DepartureVerdict.from_dict(known)
    return DriftRecord(verdict=DriftVerdict(columns=tuple(columns), **told), departures=departures, **row)


def _first_line(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(cause).strip().splitlines()[0].rstrip(".;")


def _remedy(error: DBAPIError, url: sa.URL) -> str:
    text = str(error.orig).lower()
    if is_full(text):
        return MAKE_ROOM
    if "no such table" in text or "does not exist" in text:
        return "create the tables with Database.migrate() (`weather run` does it)"
    if "locked" in text or "lock timeout" in text:
        return "another process holds it for too long; try again when that one has ended"
    if url.get_backend_name() == "sqlite":
        return "make sure that it can be read and written and that its disk has room, then run again"
    return "check that it runs and that WEATHER_DATABASE_URL names it, then run again"
