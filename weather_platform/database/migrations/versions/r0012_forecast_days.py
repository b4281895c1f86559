"""Which days each version has forecast, and from which version of the features."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forecast_days",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("forecasts", sa.Integer(), nullable=False),
        sa.Column("features_lake_version", sa.Integer()),
        sa.PrimaryKeyConstraint("target", "day", "model_version", name=op.f("pk_forecast_days")),
    )
    op.execute(
        "INSERT INTO forecast_days (target, day, model_version, forecasts) "
        "SELECT target, day, model_version, count(*) FROM forecasts GROUP BY target, day, model_version"
    )
