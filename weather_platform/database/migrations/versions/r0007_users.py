"""Users of the endpoint, and the failed logins by which they are locked out across workers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "users",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
        sa.CheckConstraint("generation >= 1", name=op.f("ck_users_generation")),
    )
    op.create_table(
        "failed_logins",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_failed_at", moment, nullable=False),
        sa.Column("locked_until", moment),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_failed_logins")),
        sa.CheckConstraint("failures >= 1", name=op.f("ck_failed_logins_failures")),
    )
    op.create_index("ix_failed_logins_last_failed_at", "failed_logins", ["last_failed_at"])
