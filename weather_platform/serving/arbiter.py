"""What BentoML's process manager, circus, does otherwise here: nobody can command it, and it ends without a worker.

What belongs here: the arbiter that BentoML makes for the processes of a service. What does not: what is done before
(`server`), the workers themselves (`worker`, `service`).

Circus takes commands, such as to run any program, from whoever reaches its control socket, and asks for no password;
BentoML puts it on a TCP port of loopback, where every user of the machine reaches it. Here it lies in the memory of the
process, where nobody does: signals say what is to be said. And a worker that says it can never start is not started
again and again while clients wait for an answer.
"""

from collections.abc import Iterable
from typing import Any

from bentoml._internal.utils import circus

from weather_platform.errors import SettingsError, WeatherError
from weather_platform.serving.server import CANNOT_START

_SERVES_AFTER_SECONDS = 30.0
"""A worker of this age serves, whatever becomes of the others."""


def keep_private() -> None:
    """Let BentoML make the arbiters of this module from now on."""
    circus.Arbiter, circus.ThreadedArbiter = PrivateArbiter, PrivateThreadedArbiter


def is_hopeless(exit_code: int, ages: Iterable[float]) -> bool:
    """Whether a worker that ended so leaves nobody who serves, and no hope; `ages` are seconds of the others."""
    return exit_code == CANNOT_START and all(age < _SERVES_AFTER_SECONDS for age in ages)


class _Private:
    """Over an arbiter of BentoML: its control socket inside this process, and an end when no worker can start."""

    def __init__(self, watchers: list[Any], **options: Any) -> None:
        if options.get("plugins"):
            raise SettingsError(
                "the service is not reloaded when its code changes, as that needs an open control port; "
                "leave --reload out"
            )
        inside = {name: f"inproc://{name}-{id(self)}" for name in ("endpoint", "pubsub_endpoint")}
        super().__init__(watchers, **options | inside)  # type: ignore[call-arg]
        self._hopeless = False
        for watcher in watchers:
            watcher.hooks["after_reap"] = self._after_reap

    def _after_reap(self, watcher: Any, exit_code: int, **_: object) -> None:
        if is_hopeless(exit_code, [process.age() for process in watcher.processes.values()]):
            # Without a process to wait for, circus ends.
            self._hopeless, watcher.respawn = True, False

    def start(self, cb: Any = None) -> None:
        """Until the service ends. WeatherError when it ended because no worker could start."""
        try:
            super().start(cb)  # type: ignore[misc]
        except RuntimeError:
            if not self._hopeless:
                raise
            raise WeatherError("the service ends, as no worker can start; its log says why") from None


class PrivateArbiter(_Private, circus.Arbiter):  # type: ignore[misc]
    """Of a service that has the process for itself."""


class PrivateThreadedArbiter(_Private, circus.ThreadedArbiter):  # type: ignore[misc]
    """Of a service in a thread."""
