"""Forecasts of values with a prediction interval beside those of probabilities."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite cannot alter a column in place: the table is copied, with all its rows, inside the one transaction.
    with op.batch_alter_table("forecasts") as table:
        table.alter_column("probability", existing_type=sa.Double(), nullable=True)
        table.alter_column("threshold", existing_type=sa.Double(), nullable=True)
        table.alter_column("label", existing_type=sa.Boolean(), nullable=True)
        for name in ("value", "value_low", "value_high"):
            table.add_column(sa.Column(name, sa.Double()))
        table.create_check_constraint(
            op.f("ck_forecasts_one_kind"),
            "(probability IS NOT NULL AND threshold IS NOT NULL AND label IS NOT NULL"
            " AND value IS NULL AND value_low IS NULL AND value_high IS NULL)"
            " OR (probability IS NULL AND threshold IS NULL AND label IS NULL"
            " AND value IS NOT NULL AND value_low IS NOT NULL AND value_high IS NOT NULL)",
        )
        table.create_check_constraint(op.f("ck_forecasts_value"), "value_low <= value AND value <= value_high")
