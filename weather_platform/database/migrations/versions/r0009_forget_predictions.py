"""The log of answered forecasts by time: by it old ones are found and forgotten."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_prediction_log_at"), "prediction_log", ["at"])
