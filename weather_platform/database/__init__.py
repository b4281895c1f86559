"""The application database: forecasts, promotion decisions, alias changes, drift and users, on SQLite or PostgreSQL.

What belongs here: tables, migrations and small typed functions over them. What does not: deciding anything
(``domain``), talking to MLflow (``resources``), or Dagster. Decisions and alias changes are append-only: the
database itself refuses to change them.
"""

from weather_platform.database.records import AliasChange, DriftRecord, FailedLogins, PromotionRecord, User
from weather_platform.database.store import FORECASTS_SCHEMA, Database, LoginLedger, TargetLedger

__all__ = [
    "FORECASTS_SCHEMA",
    "AliasChange",
    "Database",
    "DriftRecord",
    "FailedLogins",
    "LoginLedger",
    "PromotionRecord",
    "TargetLedger",
    "User",
]
