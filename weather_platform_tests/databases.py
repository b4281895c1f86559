"""Application databases of tests in SQLite, migrated once for all tests of a process."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from weather_platform.database import Database


def migrated(path: Path) -> Database:
    """A new file with all tables and no rows: a copy, as running every migration takes longer than most tests."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_without_rows())
    return Database(f"sqlite:///{path}")


@cache
def _without_rows() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weather.db"
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()
        return path.read_bytes()
