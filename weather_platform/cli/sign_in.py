"""Who asks the service: address, user and password of the settings, or asked for on the terminal.

A password is never an argument, which other users of the machine could read in the list of processes.
"""

import sys

import typer

from weather_platform.client import DEFAULT_URL, WeatherClient
from weather_platform.errors import SettingsError
from weather_platform.settings import Settings


def signed_in(settings: Settings, url: str | None) -> WeatherClient:
    """A client of the service at `url` (else of the settings, else where `weather serve` listens by default)."""
    user, password = settings.user, settings.password.get_secret_value() if settings.password else None
    if (user is None or password is None) and not sys.stdin.isatty():
        raise SettingsError("nobody to sign in as: set WEATHER_USER and WEATHER_PASSWORD, or run on a terminal")
    if user is None:
        user = typer.prompt("User", err=True)
    if password is None:
        password = typer.prompt(f"Password of {user}", hide_input=True, err=True)
    return WeatherClient(url or settings.endpoint_url or DEFAULT_URL, user, password)
