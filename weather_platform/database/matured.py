"""The rows of matured skill in the database: written a month at a time, read as Arrow tables.

What belongs here: the statements. What does not: the transaction (`store`), or what the sums mean
(`domain.matured`).
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from weather_platform.database.models import Base, MaturedBiasRow, MaturedReliabilityRow, MaturedSkillRow
from weather_platform.domain.matured import BIAS_SCHEMA, MATURED_SCHEMA, RELIABILITY_SCHEMA, Matured
from weather_platform.errors import InvariantError

_SKILL = Base.metadata.tables[MaturedSkillRow.__tablename__]
_RELIABILITY = Base.metadata.tables[MaturedReliabilityRow.__tablename__]
_BIAS = Base.metadata.tables[MaturedBiasRow.__tablename__]
_SCHEMAS: Mapping[sa.Table, pa.Schema] = {
    _SKILL: MATURED_SCHEMA,
    _RELIABILITY: RELIABILITY_SCHEMA,
    _BIAS: BIAS_SCHEMA,
}


def require_month(target: str, month: str, matured: Matured) -> None:
    """InvariantError unless every row is of this target and month."""
    for table in (matured.skill, matured.reliability, matured.bias):
        strangers = {(row["target"], row["month"]) for row in table.select(["target", "month"]).to_pylist()}
        if strangers - {(target, month)}:
            raise InvariantError(f"a row of matured skill is not of {target} {month}; nothing was written")


def replace_month(
    connection: sa.Connection, target: str, month: str, matured: Matured, stamp: Mapping[str, Any]
) -> None:
    """Write the rows of one month instead of those that are there; `stamp` is added to every row of skill."""
    for table, rows in ((_SKILL, matured.skill), (_RELIABILITY, matured.reliability), (_BIAS, matured.bias)):
        connection.execute(sa.delete(table).where(table.c.target == target, table.c.month == month))
        added = stamp if table is _SKILL else {}
        if values := [row | dict(added) for row in rows.to_pylist()]:
            connection.execute(sa.insert(table), values)


def read_months(connection: sa.Connection, target: str, first_month: str | None, last_month: str | None) -> Matured:
    """The rows of these months (inclusive), in the order of their keys."""
    return Matured(*(_read(connection, table, target, first_month, last_month) for table in _SCHEMAS))


def _read(
    connection: sa.Connection, table: sa.Table, target: str, first_month: str | None, last_month: str | None
) -> pa.Table:
    schema = _SCHEMAS[table]
    query = sa.select(*(table.c[name] for name in schema.names)).where(table.c.target == target)
    if first_month is not None:
        query = query.where(table.c.month >= first_month)
    if last_month is not None:
        query = query.where(table.c.month <= last_month)
    rows = connection.execute(query.order_by(*table.primary_key.columns)).mappings().all()
    return pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
