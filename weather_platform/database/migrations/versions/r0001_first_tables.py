"""Forecasts, promotion decisions, alias changes, and the triggers that make the last two append-only."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("promotion_decisions", "alias_changes")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "forecasts",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("feature_version", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("label", sa.Boolean(), nullable=False),
        sa.Column("issued_at", moment, nullable=False),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("target", "station", "day", "model_version", name=op.f("pk_forecasts")),
        sa.CheckConstraint("kind IN ('live', 'hindcast')", name=op.f("ck_forecasts_kind")),
        sa.CheckConstraint("probability >= 0 AND probability <= 1", name=op.f("ck_forecasts_probability")),
        sa.CheckConstraint("threshold >= 0 AND threshold <= 1", name=op.f("ck_forecasts_threshold")),
    )
    op.create_index("ix_forecasts_target_day", "forecasts", ["target", "day"])
    op.create_table(
        "promotion_decisions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("challenger_version", sa.Integer()),
        sa.Column("challenger_run_id", sa.Text(), nullable=False),
        sa.Column("challenger_digest", sa.Text(), nullable=False),
        sa.Column("champion_version", sa.Integer()),
        sa.Column("champion_digest", sa.Text()),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("decided_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion_decisions")),
        sa.CheckConstraint("decision IN ('DEPLOY', 'SKIP', 'REJECT')", name=op.f("ck_promotion_decisions_decision")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_promotion_decisions_target_id", "promotion_decisions", ["target", "id"])
    op.create_table(
        "alias_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("from_version", sa.Integer()),
        sa.Column("to_version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.Integer()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("changed_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alias_changes")),
        sa.ForeignKeyConstraint(
            ["decision_id"],
            ["promotion_decisions.id"],
            name=op.f("fk_alias_changes_decision_id_promotion_decisions"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alias_changes_target_alias_id", "alias_changes", ["target", "alias", "id"])
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
    op.execute(
        "CREATE OR REPLACE FUNCTION weather_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION weather_refuse_change()"
    )
