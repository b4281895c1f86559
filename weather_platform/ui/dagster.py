"""Dagster's webserver behind the guard, as a program: `python -m weather_platform.ui.dagster HOST PORT WORKSPACE`.

`dagster-webserver` listens on a port, and every page in a browser reaches every port of its machine. So the application
runs in this process, inside the guard, and has no port of its own. This module is the one place that opens Dagster's
workspace, for which Dagster has no public name.
"""

import sys

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import (
    DEFAULT_DB_STATEMENT_TIMEOUT,
    DEFAULT_POOL_MAX_OVERFLOW,
    DEFAULT_POOL_RECYCLE,
)
from dagster_webserver.version import __version__

from weather_platform.settings import load_settings
from weather_platform.ui.guard import Guard

_POLL_MILLISECONDS = 2000
"""How often the pages ask for news of assets, as with `dagster dev`."""
_SECONDS_TO_END = 3


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    host, port, workspace = sys.argv[1:]
    named = load_settings().ui_hosts
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW)
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([workspace]), version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MILLISECONDS)
            uvicorn.run(
                Guard(app, named), host=host, port=int(port), log_level="warning",
                timeout_graceful_shutdown=_SECONDS_TO_END,
            )  # fmt: skip


if __name__ == "__main__":
    main()
