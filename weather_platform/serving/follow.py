"""The process of the follower: from its arguments to its end.

What belongs here: being the one follower of a home, and ending with whoever started it. What does not: what it does
(``follower``), starting it and watching over it (``supervisor``).

    python -m weather_platform.serving.follow [--parent PID]

With --parent it ends as soon as that process is gone. A second follower of the same home waits for the first to end,
and imports MLflow and the lake only then.
"""

import argparse
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from weather_platform.errors import WeatherError
from weather_platform.folders import keep_files_private
from weather_platform.observability.logs import configure_logging
from weather_platform.serving.lean import be_lean, starting
from weather_platform.serving.state import StateFolder
from weather_platform.serving.supervisor import when_orphaned
from weather_platform.settings import Settings, load_settings

_LOCK_SECONDS = 0.5

_log = logging.getLogger("weather_platform.serving.follower")  # also as __main__


def main(arguments: Sequence[str] | None = None) -> None:
    """Follow until the process is ended."""
    keep_files_private()
    parser = argparse.ArgumentParser(prog="weather_platform.serving.follow")
    parser.add_argument("--parent", type=int, help="Process without which this one ends, too.")
    parent: int | None = parser.parse_args(arguments).parent
    if parent is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group: the parent ends this one
        when_orphaned(parent, partial(os._exit, 0))  # whatever it is doing: the state folder is made for that
    try:
        settings = load_settings()
        configure_logging(settings.log_format, settings.log_level)
        for noisy in ("alembic", "mlflow", "urllib3"):  # what they say of an outage is in our line already
            logging.getLogger(noisy).setLevel(logging.ERROR)
        folder = StateFolder(settings.home)
        folder.make()
        with _alone(folder.lock):
            _follow(settings, folder)
    except WeatherError as error:
        _log.error("%s", error)
        sys.exit(1)


def _follow(settings: Settings, folder: StateFolder) -> None:
    with starting():
        be_lean()
        from weather_platform.serving.follower import Follower

        follower = Follower.from_settings(settings, folder)
        follower.mend()
        follower.poll()
    follower.keep_polling()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Be the follower of this home: wait until no other process is. The lock falls with the process."""
    with lock.open("w") as held:
        waiting = False
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    _log.info("another follower serves %s; waiting for it to end", lock.parent)
                waiting = True
                time.sleep(_LOCK_SECONDS)
        yield


if __name__ == "__main__":
    main()
