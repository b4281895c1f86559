"""The leaderboard of each target and test year."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "leaderboard_entries",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rank", sa.Integer()),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("validation", sa.Double()),
        sa.Column("test", sa.Double(), nullable=False),
        sa.Column("test_low", sa.Double()),
        sa.Column("test_high", sa.Double()),
        sa.Column("test_rows", sa.Integer(), nullable=False),
        sa.Column("train_seconds", sa.Double()),
        sa.Column("predict_rows_per_second", sa.Double()),
        sa.Column("peak_memory_mb", sa.Double()),
        sa.Column("run_id", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("dagster_run_id", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("target", "year", "name", name=op.f("pk_leaderboard_entries")),
        sa.UniqueConstraint("target", "year", "rank", name=op.f("uq_leaderboard_entries_target_year_rank")),
        sa.CheckConstraint("rank >= 1", name=op.f("ck_leaderboard_entries_rank")),
        sa.CheckConstraint("(rank IS NULL) = (run_id IS NULL)", name=op.f("ck_leaderboard_entries_run_id")),
    )
