"""Drift of each month, and of each of its columns."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_reports",
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("share", sa.Double()),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("reference_rows", sa.Integer(), nullable=False),
        sa.Column("current_sample", sa.Integer(), nullable=False),
        sa.Column("reference_sample", sa.Integer(), nullable=False),
        sa.Column("reference_months", sa.JSON(), nullable=False),
        sa.Column("usual_months", sa.Integer(), nullable=False),
        sa.Column("unseen_stations", sa.JSON(), nullable=False),
        sa.Column("silent_stations", sa.JSON(), nullable=False),
        sa.Column("learned_through", sa.Text(), nullable=False),
        sa.Column("hindcast", sa.Boolean(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("times_usual", sa.Double(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("features_lake_version", sa.Integer(), nullable=False),
        sa.Column("page_path", sa.Text(), nullable=False),
        sa.Column("values_path", sa.Text(), nullable=False),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_drift_reports")),
        sa.CheckConstraint("status IN ('none', 'drift', 'unknown')", name=op.f("ck_drift_reports_status")),
        sa.CheckConstraint("share >= 0 AND share <= 1", name=op.f("ck_drift_reports_share")),
    )
    op.create_table(
        "drift_columns",
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("distance", sa.Double()),
        sa.Column("usual_distance", sa.Double()),
        sa.Column("threshold", sa.Double()),
        sa.Column("known_values", sa.Integer(), nullable=False),
        sa.Column("reference_known_values", sa.Integer(), nullable=False),
        sa.Column("missing_share", sa.Double()),
        sa.Column("reference_missing_share", sa.Double()),
        sa.PrimaryKeyConstraint("month", "name", name=op.f("pk_drift_columns")),
        sa.ForeignKeyConstraint(
            ["month"],
            ["drift_reports.month"],
            name=op.f("fk_drift_columns_month_drift_reports"),
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("kind IN ('observation', 'prediction', 'label')", name=op.f("ck_drift_columns_kind")),
        sa.CheckConstraint("status IN ('none', 'drift', 'missing', 'unknown')", name=op.f("ck_drift_columns_status")),
    )
