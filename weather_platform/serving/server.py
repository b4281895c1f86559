"""The first process of the endpoint: what is done once for all its workers.

What belongs here: what must hold before a worker starts, and starting the follower. What does not: the workers
(`worker`), BentoML, which starts them (`service`), the command (`cli.serve`). Nothing here imports what only answers
need: the workers start as soon as this process is through.
"""

import logging
import os
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

from weather_platform.errors import SettingsError
from weather_platform.folders import keep_files_private
from weather_platform.observability.logs import configure_logging
from weather_platform.serving.keys import Keys
from weather_platform.serving.lean import starting
from weather_platform.serving.supervisor import keep_following
from weather_platform.settings import Settings
from weather_platform.stores import application_database

CANNOT_START = 78
"""Exit code of a worker that a fault stops, which another start would not end; EX_CONFIG of sysexits.h."""


def begin(settings: Settings) -> None:
    """Start the follower, as early as possible: until it is through, the first start of a home has nothing to serve."""
    configure_logging(settings.log_format, settings.log_level)
    # Each thread of a worker would keep an arena of its own, with megabytes of batches that are long answered.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    # Nobody says for whom it asks unless a proxy is named: else whoever is on this machine gets round the lockout.
    os.environ.setdefault("FORWARDED_ALLOW_IPS", "")
    logging.getLogger("circus").setLevel(logging.WARNING)  # it tells of every step of its own
    keep_following(settings.home)


def require_startable(settings: Settings) -> None:
    """A one-line error for what no worker could start without: keys, and folders to write in."""
    Keys.from_settings(settings)
    for folder in (metrics_folder(settings), log_folder(settings)):
        require_writable(folder)


def prepare(settings: Settings) -> None:
    """What all workers need, before BentoML starts them. A one-line error when no worker could start."""
    from weather_platform.serving.arbiter import keep_private

    keep_private()
    keep_files_private()
    require_startable(settings)
    begin(settings)
    with starting(), closing(application_database(settings)) as database:
        database.migrate()


def metrics_folder(settings: Settings) -> Path:
    """Where the workers share their metrics."""
    return settings.home / "serving" / "metrics"


def log_folder(settings: Settings) -> Path:
    """Where each worker counts its answers."""
    return settings.home / "serving" / "prediction_log"


def require_writable(folder: Path) -> None:
    """Make the folder, and see that files can be made in it; SettingsError if not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"the service cannot write in {folder}: {error.strerror}; make it a folder in which it may"
        ) from None
