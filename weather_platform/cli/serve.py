"""`weather serve`: the endpoint, until Ctrl-C or SIGTERM.

What belongs here: the environment of the server, its address, its end. What does not: what it answers (`serving`).
"""

import ipaddress
import logging
import os
import signal

import typer

from weather_platform.cli.progress import doing
from weather_platform.cli.servers import require_free
from weather_platform.errors import SettingsError
from weather_platform.serving.lean import starting
from weather_platform.serving.server import begin, require_startable, require_writable
from weather_platform.settings import PROJECT_DIR, Settings

SERVICE = "weather_platform.serving.service:WeatherService"

_GRACE_SECONDS = 20
"""How long requests that run may take to end before their connections are closed."""


def serve(settings: Settings, host: str, port: int) -> None:
    """Run the service in this process and its workers until it is told to end."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise SettingsError(f"--host takes an IP address such as 127.0.0.1 or 0.0.0.0, not '{host}'") from None
    require_free("the service", host, port, "--port")
    require_startable(settings)
    os.environ |= environment(settings, port)
    begin(settings)
    logging.getLogger("bentoml.serve").setLevel(logging.WARNING)  # the address is told below
    with doing("loading the service"), starting():
        from _bentoml_impl.server.serving import serve_http
        from bentoml.exceptions import BentoMLException

        from weather_platform.serving.service import WeatherService

    # Started in the background by a script, SIGINT is ignored, and the server would never end on Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    typer.echo(f"http://{host}:{port} (/docs has the routes, /readyz says when models are loaded); Ctrl-C ends it")
    try:
        WeatherService.inject_config()  # type: ignore[attr-defined]
        serve_http(
            SERVICE,
            working_dir=str(PROJECT_DIR),
            host=host,
            port=port,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    except BentoMLException as error:
        raise SettingsError(f"BentoML cannot start the service: {error}") from None


def environment(settings: Settings, port: int) -> dict[str, str]:
    """What BentoML and the workers read. A BENTOML_HOME of its own, as every start empties a folder in there."""
    folder = settings.home / "serving" / f"bentoml-{port}"
    require_writable(folder)
    return {
        "BENTOML_HOME": str(folder),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_QUIET": "True",
        "WEATHER_HOME": str(settings.home),
        "WEATHER_SERVING_WORKERS": str(settings.serving_workers),
    }
