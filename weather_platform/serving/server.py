"""The first process of the endpoint: what is done once for all its workers.

What belongs here: what must hold before a worker starts, and starting the follower. What does not: the workers
(`worker`), BentoML, which starts them (`service`), the command (`cli.serve`). Nothing here imports what only answers
need: the workers start as soon as this process is through.
"""

import logging
import os
from contextlib import closing

from weather_platform.observability.logs import configure_logging
from weather_platform.serving.keys import Keys
from weather_platform.serving.lean import starting
from weather_platform.serving.supervisor import keep_following
from weather_platform.settings import Settings
from weather_platform.stores import application_database


def begin(settings: Settings) -> None:
    """Start the follower, as early as possible: until it is through, the first start of a home has nothing to serve."""
    configure_logging(settings.log_format, settings.log_level)
    # Each thread of a worker would keep an arena of its own, with megabytes of batches that are long answered.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    logging.getLogger("circus").setLevel(logging.WARNING)  # it tells of every step of its own
    keep_following(settings.home)


def prepare(settings: Settings) -> None:
    """What all workers need. A one-line error when no worker could start."""
    Keys.from_settings(settings)
    begin(settings)
    with starting(), closing(application_database(settings)) as database:
        database.migrate()
