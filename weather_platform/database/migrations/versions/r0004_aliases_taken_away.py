"""An alias can be taken away: its change has neither version nor digest."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("alias_changes", table_kwargs={"sqlite_autoincrement": True}) as table:
        table.alter_column("to_version", existing_type=sa.Integer(), nullable=True)
        table.alter_column("digest", existing_type=sa.Text(), nullable=True)
        table.create_check_constraint(
            op.f("ck_alias_changes_digest"), sa.text("(to_version IS NULL) = (digest IS NULL)")
        )
    if op.get_bind().dialect.name == "sqlite":
        # SQLite changes a column by making the table anew, and the triggers went with the old one.
        _guard("alias_changes")


def _guard(table: str) -> None:
    refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
    for verb in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} BEGIN {refuse}; END")
    known_id = f"NEW.id IN (SELECT id FROM {table})"  # noqa: S608
    op.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {known_id} BEGIN {refuse}; END")
