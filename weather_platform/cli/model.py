"""`weather model export` and `weather model import`: a version carried to another home in one file.

What belongs here: the file, and the lines that are printed. What does not: what is in the file
(``domain.model_archive``), and the run that imports it (``automation.import_model``).
"""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from weather_platform.automation.import_model import IMPORT_JOB, IMPORT_OP, read_archive
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance
from weather_platform.cli.progress import doing
from weather_platform.cli.runs import QUIET, require_success
from weather_platform.domain.training import sha256
from weather_platform.errors import ArchiveError
from weather_platform.resources.model_transfer import archive_of
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import Settings
from weather_platform.stores import application_database, open_lake


def export_model(settings: Settings, target: str, version: int | None, file: Path) -> str:
    """Write a version (None: Production's) to a new file that only its owner may read; gives the line to print."""
    if file.exists() or file.is_symlink():
        raise ArchiveError(f"{file} exists already; name a new file")
    registry = ModelRegistry.from_settings(settings)
    model = registry.production(target) if version is None else registry.existing_version(target, version)
    with doing(f"reading {model.name}"), closing(application_database(settings)) as database:
        database.migrate()
        data = archive_of(registry, database, open_lake(settings), model)
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        scratch.replace(file)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise ArchiveError(f"{file} cannot be written: {error.strerror}; name a file in a writable folder") from None
    return f"{model.name} is in {file} ({len(data):,} bytes, SHA-256 {sha256(data)})"


def import_model(settings: Settings, file: Path, *, replace: bool, why: str) -> list[str]:
    """Run the job; gives the lines to print. WeatherError, one line, when it is refused or fails."""
    with doing(f"checking {file}"):
        archive = read_archive(file)  # here too: a file that is none needs no run, and makes no home
    asked = {"file": str(file.absolute()), "replace": replace, "why": why}
    with open_instance(settings) as instance, closing(application_database(settings)) as database:
        database.migrate()
        with doing(f"importing {archive.contract.target}"):
            result = (
                build_definitions(settings)
                .resolve_job_def(IMPORT_JOB)
                .execute_in_process(
                    instance=instance, run_config=QUIET | {"ops": {IMPORT_OP: {"config": asked}}}, raise_on_error=False
                )
            )
    require_success(result, result.run_id)
    [event] = [event for event in result.all_events if event.is_step_materialization]
    metadata = event.step_materialization_data.materialization.metadata
    told: dict[str, Any] = {name: value.value for name, value in metadata.items()}
    target, was = archive.contract.target, told["from_version"]
    lines = [f"{target}: {warning}" for warning in told["warnings"]]
    return [
        *lines,
        f"{target}: Production is version {told['version']}, imported (was {was or 'nowhere'}; archive SHA-256 "
        f"{archive.sha256}; run {result.run_id}); `weather forecast --target {target}` asks it",
    ]
