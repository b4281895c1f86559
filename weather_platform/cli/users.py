"""`weather user`: who may ask the endpoint.

What belongs here: asking for a password, and saying what was done. What does not: the rules of names and passwords
(`serving.users`), the rows (`database`). A password is never an argument, which other users of the machine could read
in the list of processes: it is typed at a prompt, or the first line of the standard input.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.table import Table

from weather_platform.database import Database, User
from weather_platform.errors import WeatherError
from weather_platform.serving.auth import USERS_EVERY_SECONDS, Authenticator
from weather_platform.serving.users import MAX_PASSWORD_BYTES, Passwords, require_name, require_password
from weather_platform.settings import Settings
from weather_platform.stores import application_database

_SOON = f"within {USERS_EVERY_SECONDS:.0f} seconds"


def add_user(settings: Settings, name: str, scopes: Sequence[str]) -> str:
    """Add a user; gives the line to print."""
    require_name(name)
    with _database(settings) as database:
        if database.user(name) is not None:
            raise _taken(name)
        password_hash = Passwords().hash(_new_password(name))
        chosen = tuple(dict.fromkeys(scopes))
        user = User(name=name, password_hash=password_hash, scopes=chosen, created_at=datetime.now(UTC))
        if not database.add_user(user):
            raise _taken(name)
    return f"{name} may log in, with scope {' and '.join(chosen)}"


def change_password(settings: Settings, name: str) -> str:
    """Give a user another password; gives the line to print."""
    with _database(settings) as database:
        if database.user(name) is None:
            raise _unknown(name)
        if not database.set_user_password(name, Passwords().hash(_new_password(name))):
            raise _unknown(name)
    return f"{name} has a new password; tokens of before end {_SOON}"


def set_disabled(settings: Settings, name: str, disabled: bool) -> str:
    """Disable a user or let it in again; gives the line to print."""
    with _database(settings) as database:
        if not database.set_user_disabled(name, disabled):
            raise _unknown(name)
    return f"{name} is disabled; its tokens end {_SOON}" if disabled else f"{name} may log in again"


def set_scopes(settings: Settings, name: str, scopes: Sequence[str]) -> str:
    """Let a user do this and nothing else; gives the line to print."""
    chosen = tuple(dict.fromkeys(scopes))
    with _database(settings) as database:
        if not database.set_user_scopes(name, chosen):
            raise _unknown(name)
    return f"{name} has scope {' and '.join(chosen)}; tokens of before end {_SOON}"


def delete_user(settings: Settings, name: str) -> str:
    """Forget a user; gives the line to print."""
    with _database(settings) as database:
        if not database.delete_user(name):
            raise _unknown(name)
    return f"{name} is deleted; its tokens end {_SOON}"


def unlock_user(settings: Settings, name: str, address: str) -> str:
    """Let a user try again at once where its logins are locked; gives the line to print."""
    with _database(settings) as database:
        if database.user(name) is None:
            raise _unknown(name)
        if not Authenticator.from_settings(settings, database).unlock(name, address):
            raise WeatherError(
                f"no login of {name} from {address} has failed lately, or the service has another key; "
                "its log says from where logins were refused"
            )
    return f"{name} may try again from {address}"


def show_users(settings: Settings) -> None:
    """Print the users by name."""
    with _database(settings) as database:
        users = database.users()
    if not users:
        typer.echo("there are no users; `weather user add NAME` adds one")
        return
    table = Table("user", "scopes", "since (UTC)", "state")
    for user in users:
        since = user.created_at.strftime("%Y-%m-%d %H:%M")
        table.add_row(user.name, " ".join(user.scopes), since, "disabled" if user.disabled else "may log in")
    Console().print(table)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = application_database(settings)
    database.migrate()
    try:
        yield database
    finally:
        database.close()


def _new_password(name: str) -> str:
    if sys.stdin.isatty():
        password = str(typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True))
    else:
        password = _first_line()
    require_password(password, name)
    return password


def _first_line() -> str:
    """The first line of the standard input, without its end. A line longer than a password can be is cut."""
    try:
        return sys.stdin.readline(4 * MAX_PASSWORD_BYTES).removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise WeatherError("the password on the standard input is no text in UTF-8") from None


def _taken(name: str) -> WeatherError:
    return WeatherError(f"there is a user {name} already; `weather user password {name}` gives it another password")


def _unknown(name: str) -> WeatherError:
    return WeatherError(f"there is no user {name!r}; `weather user list` lists them")
