"""The prediction log in the database: rows of answers, and the account of each process that writes them.

What belongs here: the statements. What does not: the transaction (`store`), or the queue in front of it
(`serving.prediction_log`).

The account is written in the transaction of the rows, so its count of rows is exact whenever the process dies.
"""

from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from weather_platform.database.models import Base, PredictionLogRow, PredictionLogWriterRow
from weather_platform.database.records import LoggedForecast, LogWriter
from weather_platform.errors import InvariantError

_LOG = Base.metadata.tables[PredictionLogRow.__tablename__]
_WRITERS = Base.metadata.tables[PredictionLogWriterRow.__tablename__]
_NAMES = tuple(field.name for field in fields(LoggedForecast))
_values = attrgetter(*_NAMES)
_INSERT = sa.insert(_LOG)
_SQLITE_INSERT = str(_INSERT.compile(dialect=sqlite.dialect(paramstyle="named"), column_keys=_NAMES))


def append(connection: sa.Connection, writer: LogWriter, forecasts: Sequence[LoggedForecast]) -> None:
    """Write these answers as the next ones after `writer.written`; does nothing if they are already there."""
    account = _WRITERS.c
    total = writer.written + len(forecasts)
    moved = connection.execute(
        sa.update(_WRITERS)
        .where(account.writer == writer.writer, account.written == writer.written)
        .values(written=total, dropped=writer.dropped)
    ).rowcount
    if not moved:
        stored = connection.execute(sa.select(account.written).where(account.writer == writer.writer)).scalar()
        if stored == total and forecasts:
            return  # an earlier attempt was committed, and the answer of the database got lost
        if stored is not None:
            raise InvariantError(f"the prediction log of {writer.writer} has {stored} answers, not {writer.written}")
        opened = {field.name: getattr(writer, field.name) for field in fields(LogWriter)}
        connection.execute(sa.insert(_WRITERS), [opened | {"written": total}])
    if forecasts:
        _insert(connection, forecasts)


def settle(connection: sa.Connection, writer: LogWriter, accepted: int, ended_at: datetime) -> int:
    """Close the account of a writer that took `accepted` answers; gives how many of them were never written."""
    account = _WRITERS.c
    query = sa.select(account.written, account.lost).where(account.writer == writer.writer)
    known = connection.execute(query).one_or_none()
    if known is None:
        opened = {field.name: getattr(writer, field.name) for field in fields(LogWriter)}
        connection.execute(sa.insert(_WRITERS), [opened | {"written": 0, "lost": accepted, "ended_at": ended_at}])
        return accepted
    if known.lost is not None:
        return int(known.lost)
    lost = max(accepted - int(known.written), 0)  # a machine that lost its power may have lost newer counts
    connection.execute(
        sa.update(_WRITERS)
        .where(account.writer == writer.writer)
        .values(lost=lost, dropped=writer.dropped, ended_at=ended_at)
    )
    return lost


def forget(connection: sa.Connection, before: datetime, limit: int) -> int:
    """Delete the oldest answers of before, at most so many; gives how many. Accounts stay: they are few, and count."""
    columns = _LOG.c
    # Rows that another process deletes are left to it: nobody waits.
    old = sa.select(columns.id).where(columns.at < before).order_by(columns.at).limit(limit)
    return connection.execute(sa.delete(_LOG).where(columns.id.in_(old.with_for_update(skip_locked=True)))).rowcount


def read(
    connection: sa.Connection, *, request_id: str | None, target: str | None, newest: int | None
) -> list[LoggedForecast]:
    """Answers in the order in which they were written."""
    query = sa.select(*(_LOG.c[name] for name in _NAMES))
    if request_id is not None:
        query = query.where(_LOG.c.request_id == request_id)
    if target is not None:
        query = query.where(_LOG.c.target == target)
    if newest is not None:
        rows = connection.execute(query.order_by(_LOG.c.id.desc()).limit(newest)).all()[::-1]
    else:
        rows = list(connection.execute(query.order_by(_LOG.c.id)).all())
    return [LoggedForecast(**row._mapping) for row in rows]


def writers(connection: sa.Connection) -> list[LogWriter]:
    """The accounts of all processes that ever wrote, oldest first."""
    query = sa.select(_WRITERS).order_by(_WRITERS.c.started_at, _WRITERS.c.writer)
    return [LogWriter(**row) for row in connection.execute(query).mappings()]


def _insert(connection: sa.Connection, forecasts: Sequence[LoggedForecast]) -> None:
    rows = [_row(forecast) for forecast in forecasts]
    if connection.dialect.name != "sqlite":
        connection.execute(_INSERT, rows)
        return
    # Past SQLAlchemy's processing of parameters, which takes most of the time of a row: the worker that writes is the
    # one that answers, and in the embedded profile they share their cores with everything else.
    for row in rows:
        row["at"] = row["at"].astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        if row["day"] is not None:
            row["day"] = row["day"].isoformat()
    connection.exec_driver_sql(_SQLITE_INSERT, rows)


def _row(forecast: LoggedForecast) -> dict[str, Any]:
    row = dict(zip(_NAMES, _values(forecast), strict=True))
    row["subject"] = _storable(forecast.subject)
    if forecast.station is not None:
        row["station"] = _storable(forecast.station)
    # No numbers of numpy, which no driver takes.
    row["model_version"], row["rows"] = int(forecast.model_version), int(forecast.rows)
    row["value"], row["seconds"] = float(forecast.value), float(forecast.seconds)
    return row


def _storable(text: str) -> str:
    """What a caller sent may hold NUL, which PostgreSQL refuses, and half surrogates, which nobody can encode."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
