"""MLflow's server behind the guard: the app `weather` of MLflow's own `--app-name`, named in pyproject.toml.

MLflow checks hosts and origins itself, but not enough: every page from a port of this machine passes, `192.168.*` is
compared as text and so is the beginning of a name that an attacker may own, and pages from elsewhere may read by GET.
"""

import os

from weather_platform.settings import load_settings
from weather_platform.ui.guard import Guard


def guarded() -> Guard:
    """What `mlflow ui --app-name weather` serves."""
    # One set of rules: MLflow's would refuse the page's own requests under the names of WEATHER_UI_HOSTS.
    os.environ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "true"
    from mlflow.server.fastapi_app import app

    return Guard(app, load_settings().ui_hosts)
