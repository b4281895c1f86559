"""What a command shows meanwhile, on stderr: at once on a terminal, in a log only what takes long."""

import io
import sys
import threading
from collections.abc import Callable

import pytest
from rich.console import Console

from weather_platform.cli.progress import doing, steps_shown


class Seen(io.StringIO):
    """A stream that says when something was written to it."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.written, self._terminal = threading.Event(), terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        if text.strip():
            self.written.set()
        return super().write(text)


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Makes stderr a stream that the test looks at."""
    monkeypatch.setenv("TERM", "xterm")

    def made(*, terminal: bool) -> Seen:
        seen = Seen(terminal=terminal)
        monkeypatch.setattr(sys, "stderr", seen)
        return seen

    return made


def test_a_terminal_shows_at_once_what_goes_on(stderr: Callable[..., Seen]) -> None:
    seen = stderr(terminal=True)
    with doing("loading Dagster"):
        assert seen.written.wait(60)
    assert "loading Dagster ..." in seen.getvalue()


def test_a_log_has_one_plain_line_of_what_takes_long(stderr: Callable[..., Seen]) -> None:
    seen = stderr(terminal=False)
    with doing("loading Dagster", silent_seconds=0.01):
        assert seen.written.wait(60)
    assert seen.getvalue() == "loading Dagster ...\n"


def test_a_log_has_nothing_of_what_is_done_at_once(stderr: Callable[..., Seen]) -> None:
    seen = stderr(terminal=False)
    with doing("loading Dagster", silent_seconds=3600):
        pass
    assert seen.getvalue() == ""
    assert not [each for each in threading.enumerate() if isinstance(each, threading.Timer)]


def test_a_log_has_each_step_as_it_ends_with_what_a_failed_check_means() -> None:
    out = io.StringIO()
    console = Console(file=out, highlight=False, width=60)
    with steps_shown(console) as steps:
        steps.begin("features")
        assert out.getvalue() == ""
        steps.end("features", "[green]✓[/green]")
        assert out.getvalue().split() == ["✓", "features", "0:00:00"]
        steps.begin("features_no_empty_feature")
        steps.end("features_no_empty_feature", "[yellow]![/yellow]", "2007: sunshine_hours. Look at [the] files.")
    assert "    features_no_empty_feature: 2007: sunshine_hours. Look at [the] files.\n" in out.getvalue()


def test_a_step_that_takes_long_is_named_once_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weather_platform.cli.progress.SILENT_SECONDS", -1)
    out = io.StringIO()
    with steps_shown(Console(file=out)) as steps:
        steps.tick()
        steps.begin("rain_tomorrow/xgboost")
        steps.tick()
        steps.tick()
        steps.end("rain_tomorrow/xgboost", "✓")
    assert [line.split()[:2] for line in out.getvalue().splitlines()] == [
        ["preparing", "..."],
        ["rain_tomorrow/xgboost", "..."],
        ["✓", "rain_tomorrow/xgboost"],
    ]


def test_a_terminal_has_a_moving_line_before_the_first_step_and_a_tick_after_the_last() -> None:
    out = io.StringIO()
    with steps_shown(Console(file=out, force_terminal=True, width=80)) as steps:
        assert "preparing" in out.getvalue()
        steps.begin("features")
        steps.end("features", "[green]✓[/green]", "look")
    assert out.getvalue().rpartition("\n")[0].count("✓")
    assert "features: look" in out.getvalue()
