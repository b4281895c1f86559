"""Which process of the endpoint lives as long as which.

What belongs here: keeping the follower of a home running, and noticing that the parent is gone. What does not: what
the processes do (``server``, ``worker``, ``follow``).

The first process of a server does this, so that the follower starts beside the workers and not after them. It itself
notices when that process is gone, and of the followers of several servers of one home one follows while the others
wait.
"""

import atexit
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic, sleep

from weather_platform.settings import PROJECT_DIR

_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0
_GRACE_SECONDS = 5.0
_PARENT_SECONDS = 0.5

_log = logging.getLogger(__name__)


def when_orphaned(parent: int, act: Callable[[], object]) -> None:
    """Act, in a thread, once `parent` is no longer the parent of this process: it was killed, or it crashed."""

    def watch() -> None:
        while os.getppid() == parent:
            sleep(_PARENT_SECONDS)
        act()

    Thread(target=watch, name="when-orphaned", daemon=True).start()


@cache
def keep_following(home: Path) -> "FollowerSupervisor":
    """The follower of this home, from now to the end of this process; the same one when it is asked for again."""
    supervisor = FollowerSupervisor(home)
    supervisor.start()
    atexit.register(supervisor.stop)
    return supervisor


class FollowerSupervisor:
    """The follower of a home as a child of this process, with the environment of this process."""

    def __init__(self, home: Path) -> None:
        paths = filter(None, (str(PROJECT_DIR), os.environ.get("PYTHONPATH")))
        self._environment = {"WEATHER_HOME": str(home), "PYTHONPATH": os.pathsep.join(paths)}
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = Event()
        self._changing = Lock()
        self._thread = Thread(target=self._watch, name="follower-supervisor", daemon=True)

    @property
    def pid(self) -> int | None:
        """The process that follows at present."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the follower and watch over it; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the follower, and do not start it again."""
        with self._changing:
            self._stopping.set()
            if self._process is not None:
                self._process.terminate()
        if self._thread.is_alive():
            self._thread.join(_GRACE_SECONDS)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _watch(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = monotonic()
            try:
                process = self._started()
            except OSError as error:  # such as no memory or too many processes, which pass
                end = f"cannot be started: {error.strerror}"
            else:
                if process is None:
                    return
                end = f"ended with {process.wait()}"
            if self._stopping.is_set():
                return
            pause = _FIRST_PAUSE_SECONDS if monotonic() - began > _LONGEST_PAUSE_SECONDS else pause
            _log.warning("the follower %s; it is started again in %.0f s", end, pause)
            if self._stopping.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _started(self) -> subprocess.Popen[bytes] | None:
        # Of this very package, wherever the server was started: a bento brings its own.
        command = [sys.executable, "-P", "-m", "weather_platform.serving.follow", "--parent", str(os.getpid())]
        with self._changing:
            if self._stopping.is_set():
                return None
            self._process = subprocess.Popen(command, env=os.environ | self._environment)
            return self._process
