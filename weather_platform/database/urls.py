"""Which database URLs are understood, and how a database is named in messages: never with its password."""

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from weather_platform.errors import SettingsError

EXAMPLES = "sqlite:////folder/weather.db or postgresql+psycopg2://user:password@host/weather"


def parse_url(url: str) -> sa.URL:
    """A URL of SQLite (a file) or PostgreSQL (psycopg2, which a bare postgresql:// is taken for)."""
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError):
        # The text is not shown: it may hold a password.
        raise SettingsError(f"the database URL cannot be read; write it like {EXAMPLES}") from None
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        if parsed.database in (None, "", ":memory:"):
            raise SettingsError(
                f"the database must be a file that several processes can open; write it like {EXAMPLES}"
            )
        if "?" in url:
            raise SettingsError(
                f"the path of the SQLite database ends before the ?; write that as %3F, or leave it out: {EXAMPLES}"
            )
        return parsed
    if any(name.lower() == "password" for name in parsed.query):
        raise SettingsError(
            f"the password of the database belongs before the @, not after a ?; write it like {EXAMPLES}"
        )
    if parsed.drivername in ("postgresql", "postgres"):
        # SQLAlchemy 2.1 would take psycopg 3, which is not installed.
        return parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername != "postgresql+psycopg2":
        raise SettingsError(f"databases of the kind {parsed.drivername}:// are not supported; write {EXAMPLES}")
    return parsed


def place(url: sa.URL) -> str:
    """The database as a message names it."""
    if url.get_backend_name() == "sqlite":
        return f"SQLite database {url.database}"
    host = url.host or url.query.get("host") or "the local socket"
    port = f":{url.port}" if url.port else ""
    return f"PostgreSQL database {url.database} at {host}{port}"
