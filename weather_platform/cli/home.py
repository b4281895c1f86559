"""The home folder: where the embedded profile keeps its state, and the Dagster instance in it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from weather_platform.errors import SettingsError
from weather_platform.settings import PROJECT_DIR, Settings

if TYPE_CHECKING:
    from dagster import DagsterInstance


_NO_COPIES_OF_OUTPUT = {
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"}
}


def dagster_home(settings: Settings) -> Path:
    """`<home>/dagster` with the project's `dagster.yaml` in it.

    A DAGSTER_HOME that is set is respected, unless it is the folder of another home: `eval "$(weather env)"` leaves it
    in the shell, and runs of this home would stand among those of that one.
    """
    folder = settings.home / "dagster"
    if (chosen := os.environ.get("DAGSTER_HOME")) and not _is_of_a_home(Path(chosen)):
        return Path(chosen)
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


def _is_of_a_home(folder: Path) -> bool:
    return folder.name == "dagster" and any((folder.parent / name).exists() for name in ("weather.env", "lake"))


def open_instance(settings: Settings) -> "DagsterInstance":
    """The Dagster instance of the home: the one `dagster dev` uses with the same DAGSTER_HOME.

    Output of steps goes to the terminal alone: the helper processes that would copy it answer Ctrl-C with a traceback.
    """
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    folder = dagster_home(settings)
    os.environ["DAGSTER_HOME"] = str(folder)
    reference = InstanceRef.from_dir(str(folder), overrides=_NO_COPIES_OF_OUTPUT)
    events = reference.event_storage_data
    if events is not None and events.class_name == "SqliteEventLogStorage":
        quicker = {
            "module": "weather_platform.cli.event_log",
            "class": "OpenEventLogStorage",
            "config": {"base_dir": events.config_dict["base_dir"]},
        }
        reference = InstanceRef.from_dir(str(folder), overrides=_NO_COPIES_OF_OUTPUT | {"event_log_storage": quicker})
    return DagsterInstance.from_ref(reference)
