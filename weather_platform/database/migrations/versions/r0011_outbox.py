"""Notices to people, written in the transaction of what they are about, and their deliveries to channels."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "notices",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("remedy", sa.Text(), nullable=False),
        sa.Column("dagster_run_id", sa.Text()),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("last_event_at", moment, nullable=False),
        sa.Column("resolved_at", moment),
        sa.Column("opening_routed", sa.Boolean(), nullable=False),
        sa.Column("end_routed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.CheckConstraint("severity IN ('info', 'warning', 'urgent')", name=op.f("ck_notices_severity")),
        sqlite_autoincrement=True,
    )
    is_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_notices_open_cause", "notices", ["cause"], unique=True, sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("ix_notices_cause_id", "notices", ["cause", "id"])
    op.create_table(
        "notice_deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("notice_id", sa.Integer(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=False),
        sa.Column("in_digest", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("next_try_at", moment, nullable=False),
        sa.Column("claim", sa.Text()),
        sa.Column("claimed_until", moment),
        sa.Column("last_error", sa.Text()),
        sa.Column("sent_at", moment),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_deliveries")),
        sa.ForeignKeyConstraint(["notice_id"], ["notices.id"], name=op.f("fk_notice_deliveries_notice_id_notices")),
        sa.UniqueConstraint("notice_id", "channel", "phase", name=op.f("uq_notice_deliveries_notice_id_channel_phase")),
        sa.CheckConstraint("phase IN ('opened', 'over')", name=op.f("ck_notice_deliveries_phase")),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name=op.f("ck_notice_deliveries_state")),
        sa.CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name=op.f("ck_notice_deliveries_sent_at")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notice_deliveries_state_next_try_at", "notice_deliveries", ["state", "next_try_at"])
