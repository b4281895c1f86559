"""Alembic's entry: runs on the connection (and in the transaction) that Database.migrate() hands over."""

from alembic import context

from weather_platform.database.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
