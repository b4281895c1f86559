"""The application database, on SQLite or PostgreSQL: forecasts, decisions, alias changes, drift, users and answers.

What belongs here: tables, migrations and small typed functions over them. What does not: deciding anything
(``domain``), talking to MLflow (``resources``), or Dagster. Decisions and alias changes are append-only: the
database itself refuses to change them.
"""

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
from weather_platform.database.store import FORECASTS_SCHEMA, Database, LoginLedger, TargetLedger

__all__ = [
    "FORECASTS_SCHEMA",
    "AliasChange",
    "Database",
    "DriftRecord",
    "FailedLogins",
    "LogWriter",
    "LoggedForecast",
    "LoginLedger",
    "PromotionRecord",
    "RetrainingOutcome",
    "RetrainingRecord",
    "RetrainingRequest",
    "TargetLedger",
    "User",
]
