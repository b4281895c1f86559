"""What a command does meanwhile, on stderr, so that stdout holds results only.

What belongs here: showing it. What does not: the work. On a terminal something moves at once; elsewhere (a log, a pipe)
there is one plain line for what takes longer than a moment.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, RenderableType
from rich.progress import Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

SILENT_SECONDS = 1.5
"""What is shorter than that gets no line of its own in a log."""

PREPARING = "preparing"
_NAME_WIDTH = 34


def console_of_errors() -> Console:
    """Progress goes to stderr."""
    return Console(file=sys.stderr, highlight=False)


@contextmanager
def doing(what: str, *, silent_seconds: float = SILENT_SECONDS) -> Iterator[None]:
    """Show what goes on until the block ends. Begin it before a heavy import, which blocks everything else."""
    console = console_of_errors()
    if console.is_terminal:
        with console.status(f"{what} ..."):
            yield
        return
    line = threading.Timer(silent_seconds, console.print, (f"{what} ...",), {"markup": False, "soft_wrap": True})
    line.daemon = True
    line.start()
    try:
        yield
    finally:
        line.cancel()
        line.join()  # nothing of it is printed after the block


class Steps(Protocol):
    """The steps of a run as they begin and end. `mark` is a sign in rich's markup, `warning` a sentence or empty."""

    def begin(self, step: str) -> None: ...
    def say(self, step: str, text: str) -> None: ...
    def end(self, step: str, mark: str, warning: str = "") -> None: ...
    def tick(self) -> None: ...


@contextmanager
def steps_shown(console: Console) -> Iterator[Steps]:
    """A line for each step: moving bars on a terminal, plain lines elsewhere."""
    if console.is_terminal:
        bars = _Bars(console)
        with bars.progress:
            yield bars
    else:
        yield _Lines(console)


class _Bars:
    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            TextColumn(" "),
            _Mark(),
            TextColumn(f"{{task.description:<{_NAME_WIDTH}}}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[said]}[/dim]"),
            console=console,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._first: TaskID | None = self.progress.add_task(PREPARING, total=1, said="", mark="")

    def begin(self, step: str) -> None:
        self._settle()
        self._tasks[step] = self.progress.add_task(step, total=1, said="", mark="")

    def say(self, step: str, text: str) -> None:
        self.progress.update(self._tasks[step], said=text)

    def end(self, step: str, mark: str, warning: str = "") -> None:
        task = self._tasks[step]
        self.progress.update(task, completed=1, mark=mark, said="")
        self.progress.stop_task(task)
        if warning:
            _warn(self.progress.console, step, warning)

    def tick(self) -> None:
        """The bars move by themselves."""

    def _settle(self) -> None:
        if self._first is not None:
            self.progress.remove_task(self._first)
            self._first = None


class _Lines:
    """A line when a step ends, and one before for a step that takes long."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = {PREPARING: time.monotonic()}
        self._named: set[str] = set()

    def begin(self, step: str) -> None:
        self._begun.pop(PREPARING, None)
        self._begun[step] = time.monotonic()

    def say(self, step: str, text: str) -> None:
        """Left out: a log has the ends."""

    def end(self, step: str, mark: str, warning: str = "") -> None:
        seconds = int(time.monotonic() - self._begun.pop(step))
        taken = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        self._console.print(f"  {mark} {step:<{_NAME_WIDTH}} {taken}", soft_wrap=True)
        if warning:
            _warn(self._console, step, warning)

    def tick(self) -> None:
        now = time.monotonic()
        for step, begun in self._begun.items():
            if step not in self._named and now - begun > SILENT_SECONDS:
                self._named.add(step)
                self._console.print(f"    {step} ...", soft_wrap=True, markup=False)


def _warn(console: Console, step: str, warning: str) -> None:
    console.print(f"    {step}: {warning}", style="yellow", markup=False, soft_wrap=True)


class _Mark(SpinnerColumn):
    """How a step ended: well, with a check that did not pass, or not at all; a spinner while it goes on."""

    def render(self, task: Task) -> RenderableType:
        return Text.from_markup(task.fields["mark"]) if task.fields["mark"] else super().render(task)
