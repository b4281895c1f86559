"""Beside the drift of a month: which stations departed from their neighbours."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("drift_reports", sa.Column("departures", sa.JSON()))
