"""The decision to retrain, what people asked of it and what came of it; the matured bias that it looks at."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

APPEND_ONLY = ("retraining_requests", "retraining_decisions", "retraining_outcomes")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "matured_bias",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("bias", sa.Double(), nullable=False),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
        sa.PrimaryKeyConstraint(
            "target", "month", "model_version", "kind", "scope", "place", name=op.f("pk_matured_bias")
        ),
        sa.CheckConstraint("kind IN ('live', 'hindcast')", name=op.f("ck_matured_bias_kind")),
        sa.CheckConstraint("scope IN ('all', 'state', 'station')", name=op.f("ck_matured_bias_scope")),
        sa.CheckConstraint("low <= bias AND bias <= high", name=op.f("ck_matured_bias_interval")),
    )
    op.create_table(
        "retraining_requests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("until", sa.Date()),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_requests")),
        sa.CheckConstraint("kind IN ('retrain', 'veto')", name=op.f("ck_retraining_requests_kind")),
        sa.CheckConstraint("(kind = 'veto') = (until IS NOT NULL)", name=op.f("ck_retraining_requests_until")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "retraining_decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("notices", sa.JSON(), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.Integer()),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_decisions")),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["retraining_requests.id"],
            name=op.f("fk_retraining_decisions_request_id_retraining_requests"),
        ),
        sa.CheckConstraint(
            "decision IN ('RETRAIN', 'RECALIBRATE', 'WAIT', 'OK', 'UNKNOWN')",
            name=op.f("ck_retraining_decisions_decision"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "retraining_outcomes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("decision_id", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retraining_outcomes")),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["retraining_decisions.id"],
            name=op.f("fk_retraining_outcomes_decision_id_retraining_decisions"),
        ),
        sa.UniqueConstraint(
            "decision_id",
            "dagster_run_id",
            "outcome",
            name=op.f("uq_retraining_outcomes_decision_id_dagster_run_id_outcome"),
        ),
        sa.CheckConstraint(
            "outcome IN ('DEPLOY', 'SKIP', 'REJECT', 'FAILED')", name=op.f("ck_retraining_outcomes_outcome")
        ),
        sqlite_autoincrement=True,
    )
    for table in ("retraining_requests", "retraining_decisions"):
        op.create_index(op.f(f"ix_{table}_target_id"), table, ["target", "id"])
    guard = _sqlite_guard if op.get_bind().dialect.name == "sqlite" else _postgresql_guard
    for table in APPEND_ONLY:
        guard(table)


def _sqlite_guard(table: str) -> None:
    refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
    for verb in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN {refuse}; END")
    # INSERT OR REPLACE deletes without firing the trigger above, so it gets one of its own.
    known_id = f"NEW.id IN (SELECT id FROM {table})"  # noqa: S608
    op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {known_id} BEGIN {refuse}; END")


def _postgresql_guard(table: str) -> None:
    # The function is that of the first migration.
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION weather_refuse_change()"
    )
