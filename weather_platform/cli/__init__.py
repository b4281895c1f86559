"""The `weather` command: a convenience over the same definitions and the same Dagster instance that the UI shows.

What belongs here: arguments, progress, printing, exit codes (0 done, 1 failed or interrupted, 2 usage). What does
not: any step of the work itself; that is the asset graph's.
"""

import gc
import sys

_ALLOCATIONS = 100_000
_CTRL_C = 130
"""What typer ends with after Ctrl-C."""


def main() -> None:
    """Entry point of `weather`. A deliberate error is one line on stderr and exit code 1."""
    # Looking for garbage after every 700 objects that are made is a tenth of a run: most of them are imports, and stay.
    gc.set_threshold(_ALLOCATIONS)
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
