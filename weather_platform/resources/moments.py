"""The only wall clock an asset may read: the start of its own Dagster run, as the instance recorded it.

A step that is executed again sees the same moment, and so does every step of the run.
"""

from datetime import datetime

import dagster as dg

from weather_platform.errors import SettingsError


def run_created_at(instance: dg.DagsterInstance | None, run_id: str | None) -> datetime:
    """When the run was created, in UTC."""
    record = instance.get_run_record_by_id(run_id) if instance is not None and run_id is not None else None
    if record is None:
        raise SettingsError("there is no Dagster run to tell the time; materialise the asset instead of calling it")
    return record.create_timestamp
