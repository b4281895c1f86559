"""The `weather` command: a convenience over the same definitions and the same Dagster instance that the UI shows.

What belongs here: arguments, progress, printing, exit codes (0 done, 1 failed or interrupted, 2 usage). What does
not: any step of the work itself; that is the asset graph's.
"""

import sys

from weather_platform.garbage import look_for_garbage_seldom

_CTRL_C = 130
"""What typer ends with after Ctrl-C."""


def main() -> None:
    """Entry point of `weather`. A deliberate error is one line on stderr and exit code 1."""
    look_for_garbage_seldom()  # from now on, as most objects are made by imports
    from weather_platform.errors import WeatherError

    try:
        from weather_platform.cli.commands import app

        app()
    except WeatherError as error:
        sys.stderr.write(f"weather: {error}\n")
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != _CTRL_C:
            raise
        sys.stderr.write("weather: interrupted; run it again to go on\n")
        sys.exit(1)
