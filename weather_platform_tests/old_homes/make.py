"""Make the small home that is kept of a version: `python -m weather_platform_tests.old_homes.make VERSION`.

What belongs here: the settings of such a home, and what is left out of its archive. What does not: the tests that open
the archives (``test_old_homes``). Run it in the checkout of the version that is released or tagged; it writes
`weather_platform_tests/old_homes/VERSION.tar.xz`, about 0.8 MB, which is committed.

Left out: pictures, which are most of the bytes and nothing reads, and the models that were not registered. The home is
made in /tmp/weather-home, because a home of a place that is not there any more tests that homes can be moved.
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

PLACE: Final = Path("/tmp/weather-home")  # noqa: S108 - the same in every archive, and no path of a machine
ARCHIVES: Final = Path(__file__).parent
TINY: Final[Mapping[str, str]] = {
    "WEATHER_SYNTHETIC_STATIONS": "3",
    "WEATHER_SYNTHETIC_YEARS": "3",
    "WEATHER_SYNTHETIC_LAST_DAY": "2015-03-31",
    "WEATHER_THREADS": "1",
    "WEATHER_QUICK": "true",
}
"""Three stations over 27 months: the least of which both targets get a Production model."""


def archive(home: Path, file: Path) -> None:
    """Pack a home without what is left out. Nothing may run in it; it is changed."""
    with closing(sqlite3.connect(home / "mlflow.db")) as store:
        sources = [source for (source,) in store.execute("SELECT source FROM model_versions")]
    registered = {name for source in sources for name in re.findall(r"/models/([^/]+)/", source)}
    for folder in (home / "mlflow_artifacts" / "models").iterdir():
        if folder.name not in registered:
            shutil.rmtree(folder)
    for database in home.rglob("*.db"):
        _without_pictures(database)
    with tarfile.open(file, "w:xz", preset=9) as packed:
        for path in sorted(home.rglob("*")):
            if path.is_file() and path.suffix not in (".png", ".lock"):
                packed.add(path, path.relative_to(home).as_posix(), filter=_anonymous)


def _without_pictures(database: Path) -> None:
    with closing(sqlite3.connect(database)) as opened:
        opened.create_function(
            "without_pictures", 1, lambda text: re.sub(r"(base64,)[A-Za-z0-9+/=]{100,}", r"\1", text)
        )
        for table, column in (("event_logs", "event"), ("asset_keys", "last_materialization")):
            if opened.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone():
                opened.execute(
                    f"UPDATE {table} SET {column} = without_pictures({column}) "  # noqa: S608 - names of ours
                    f"WHERE {column} LIKE '%base64,%'"
                )
        opened.commit()
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        opened.execute("VACUUM")
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def main(version: str) -> None:
    """Run the `weather` command of this checkout in PLACE and pack what it leaves."""
    if PLACE.exists():
        sys.exit(f"{PLACE} is there already; remove it")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WEATHER_", "DAGSTER_"))}
    command = [str(Path(sys.executable).parent / "weather"), "run", "--source", "synthetic", "--forecast-days", "3"]
    try:
        # In the folder around: MLflow of some versions remembers where the command was started.
        subprocess.run(command, cwd=PLACE.parent, env=kept | dict(TINY) | {"WEATHER_HOME": str(PLACE)}, check=True)
        archive(PLACE, ARCHIVES / f"{version}.tar.xz")
    finally:
        shutil.rmtree(PLACE, ignore_errors=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("give the version, e.g. 0.1.0")
    main(sys.argv[1])
