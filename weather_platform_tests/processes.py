"""Processes of their own for tests, forked from a server that has the imports of seconds behind it.

What belongs here: starting them, together or alone. What does not: what they do, which is a function of the module of
its test. A process has the environment of whichever test came first: functions set what they need.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from weather_platform_tests.e2e.homes import clean_environment

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["weather_platform_tests.preloaded"])

SECONDS = 120


@dataclass(frozen=True)
class Beside:
    """A process that goes on beside the test, and the pipe between them."""

    process: BaseProcess
    pipe: Connection
    output: Path | None

    def hear(self) -> Any:
        """What it says next. When it ends without a word, what it printed is the error."""
        if not self.pipe.poll(SECONDS):
            raise AssertionError(f"nothing was said within {SECONDS} s")
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise AssertionError(self.output.read_text() if self.output else "it ended without a word") from None

    def ask(self, question: Any) -> Any:
        """Its answer."""
        self.pipe.send(question)
        return self.hear()

    def kill(self) -> None:
        """End it as the kernel would, and wait until it is gone."""
        self.process.kill()
        self.process.join()

    def end(self) -> int | None:
        """End it as an operator would; gives its exit code, minus the signal if that is what ended it."""
        self.process.terminate()
        self.process.join(SECONDS)
        return self.process.exitcode


@contextmanager
def beside(
    function: Callable[..., None], *arguments: Any, env: Mapping[str, str] | None = None, output: Path | None = None
) -> Iterator[Beside]:
    """A process that calls this function with its end of the pipe and these arguments; killed after the block.

    Its environment is this one without settings of the platform, and `env` over it. What it prints goes to the end of
    the file `output`.
    """
    ours, theirs = FORKS.Pipe()
    told = clean_environment() | dict(env or {})
    process = FORKS.Process(target=_call, args=(function, theirs, arguments, told, output), daemon=True)
    process.start()
    theirs.close()
    running = Beside(process, ours, output)
    try:
        yield running
    finally:
        running.kill()
        ours.close()


def _call(
    function: Callable[..., None], pipe: Connection, arguments: Any, env: Mapping[str, str], output: Path | None
) -> None:
    os.environ.clear()
    os.environ.update(env)
    if output is not None:
        with output.open("ab") as sink:
            os.dup2(sink.fileno(), 1)
            os.dup2(sink.fileno(), 2)
    function(pipe, *arguments)


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
