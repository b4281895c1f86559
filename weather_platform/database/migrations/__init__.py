"""Alembic migrations, run by Database.migrate(). A revision that was released is never edited."""
