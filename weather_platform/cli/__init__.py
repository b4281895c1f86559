"""The `weather` command: a convenience over the same definitions and the same Dagster instance that the UI shows.

What belongs here: arguments, progress, printing, exit codes (0 done, 1 failed or interrupted, 2 usage). What does
not: any step of the work itself; that is the asset graph's.
"""

import sys

from weather_platform.garbage import look_for_garbage_seldom

_CTRL_C = 130
"""What typer ends with after Ctrl-C."""


def main() -> None:
    """Entry point of `weather`. An error that is no fault of the program is one line on stderr and exit code 1."""
    look_for_garbage_seldom()  # from now on, as most objects are made by imports
    from weather_platform.errors import MAKE_ROOM, WeatherError, is_full
    from weather_platform.folders import keep_files_private

    keep_files_private()
    asked = {"traceback": False}  # the command writes down here what was asked for
    try:
        from weather_platform.cli.commands import app

        app(obj=asked)
    except WeatherError as error:
        sys.stderr.write(f"weather: {error}\n")
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != _CTRL_C:
            raise
        sys.stderr.write("weather: interrupted; run it again to go on\n")
        sys.exit(1)
    except _of_the_surroundings() as error:
        if asked["traceback"]:
            raise
        said = next(iter(str(error).splitlines()), "no reason given")
        if is_full(said):
            sys.stderr.write(f"weather: {said}; {MAKE_ROOM}\n")
            sys.exit(1)
        sys.stderr.write(f"weather: {type(error).__name__}: {said}; `weather --traceback ...` shows where it was\n")
        sys.exit(1)


def _of_the_surroundings() -> tuple[type[Exception], ...]:
    """What disks, networks and databases raise where no line was foreseen for it. Anything else is a fault here."""
    database = sys.modules.get("sqlalchemy.exc")  # nothing of it was raised by a command that did not import it
    return (OSError, database.SQLAlchemyError) if database is not None else (OSError,)
