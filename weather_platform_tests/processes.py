"""Processes of their own for tests, forked from a server that has the imports of seconds behind it.

What belongs here: starting them, together or alone. What does not: what they do, which is a function of the module of
its test. A process has the environment of whichever test came first: functions set what they need.
"""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["weather_platform_tests.preloaded"])

SECONDS = 120


def exit_code(function: Callable[..., None], *arguments: Any) -> int | None:
    """How a process that calls this function ends; minus the signal that killed it."""
    process = FORKS.Process(target=function, args=arguments)
    process.start()
    process.join(SECONDS)
    return process.exitcode


def race(*calls: tuple[Any, ...]) -> list[Any]:
    """What functions give, each in a process of its own.

    A call is a function and its arguments. The function gets a barrier before them, at which it waits when it is ready:
    then all go on at once.
    """
    start = FORKS.Barrier(len(calls))
    running = []
    for function, *arguments in calls:
        told, telling = FORKS.Pipe(duplex=False)
        process = FORKS.Process(target=_tell, args=(telling, function, start, arguments))
        process.start()
        telling.close()
        running.append((process, told))
    results = [told.recv() if told.poll(SECONDS) else None for _, told in running]
    for process, _ in running:
        process.join(SECONDS)
        assert process.exitcode == 0
    return results


def _tell(telling: Connection, function: Callable[..., Any], start: Barrier, arguments: list[Any]) -> None:
    telling.send(function(start, *arguments))
