"""Matured skill by month, model version, kind and state, and its reliability."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TALLIES = ("true_positive", "false_positive", "false_negative", "covered")
SUMS = (
    "forecast_sum",
    "observed_sum",
    "observed_squared_sum",
    "squared_error",
    "absolute_error",
    "climatology_squared_error",
    "climatology_absolute_error",
    "persistence_squared_error",
    "persistence_absolute_error",
)
SCORES = (
    "mean_squared_error",
    "mean_absolute_error",
    "bias",
    "squared_skill_climatology",
    "absolute_skill_climatology",
    "squared_skill_persistence",
    "absolute_skill_persistence",
    "f1",
    "r2",
    "coverage",
)


def upgrade() -> None:
    op.create_table(
        "matured_skill",
        *_slice(),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("forecasts", "matured", "pending", "unmatched")
        ),
        *(sa.Column(name, sa.BigInteger()) for name in TALLIES),
        *(sa.Column(name, sa.Double(), nullable=False) for name in SUMS),
        *(sa.Column(name, sa.Double()) for name in SCORES),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("target", "month", "model_version", "kind", "state", name=op.f("pk_matured_skill")),
        sa.CheckConstraint("kind IN ('live', 'hindcast')", name=op.f("ck_matured_skill_kind")),
        sa.CheckConstraint("forecasts = matured + pending + unmatched", name=op.f("ck_matured_skill_counts")),
    )
    op.create_table(
        "matured_reliability",
        *_slice(),
        sa.Column("bin", sa.Integer(), nullable=False),
        sa.Column("matured", sa.BigInteger(), nullable=False),
        sa.Column("forecast_sum", sa.Double(), nullable=False),
        sa.Column("observed_sum", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "target", "month", "model_version", "kind", "state", "bin", name=op.f("pk_matured_reliability")
        ),
    )


def _slice() -> list[sa.Column[object]]:
    return [
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
    ]
