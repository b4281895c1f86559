"""The home folder: where the embedded profile keeps its state, and the Dagster instance in it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from weather_platform.errors import SettingsError
from weather_platform.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


def dagster_home(settings: Settings) -> Path:
    """`<home>/dagster` with the project's `dagster.yaml` in it. A DAGSTER_HOME that is set elsewhere is respected."""
    if chosen := os.environ.get("DAGSTER_HOME"):
        return Path(chosen)
    folder = settings.home / "dagster"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wanted, stored = (PROJECT_DIR / "dagster.yaml").read_bytes(), folder / "dagster.yaml"
        if not stored.exists() or stored.read_bytes() != wanted:
            # In one step: another process of this home may be reading it.
            scratch = folder / f"dagster.yaml.{os.getpid()}"
            scratch.write_bytes(wanted)
            scratch.replace(stored)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be used: {error.strerror}; set WEATHER_HOME to a writable folder"
        ) from None
    return folder


def open_instance(settings: Settings) -> "DagsterInstance":
    """The Dagster instance of the home: the one `dagster dev` uses with the same DAGSTER_HOME."""
    from dagster import DagsterInstance

    folder = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    return DagsterInstance.from_config(str(folder))
