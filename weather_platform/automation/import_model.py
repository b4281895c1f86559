"""The job `import_model`: a version of another home is registered here, and Production moves to it.

What belongs here: the request, reading the file, and what the run shows. What does not: the checks of the file
(``domain.model_archive``), and whether Production may move (``resources.model_transfer``).
"""

import os
from pathlib import Path

import dagster as dg
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from pydantic import Field

from weather_platform.database import Database
from weather_platform.domain.model_archive import ARCHIVE_MAX_BYTES, ModelArchive, unpacked
from weather_platform.errors import ArchiveError, ImportRefusedError
from weather_platform.regular_files import open_regular
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.mlflow_tracking import MlflowRun
from weather_platform.resources.model_transfer import facts_of_import, import_version
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import Audit, ModelRegistry

IMPORT_JOB = "import_model"
IMPORT_OP = "import_one"
WHY_MIN_CHARACTERS, WHY_MAX_CHARACTERS = 8, 500


class ImportConfig(dg.Config):
    """Which file, and whether it may take the place of the model that serves."""

    file: str = Field(description="The file that `weather model export` wrote, as the machine of the run sees it.")
    replace: bool = Field(False, description="Let it take the place of the model that serves; `why` is needed then.")
    why: str = Field("", max_length=WHY_MAX_CHARACTERS, description="Why, for the audit, which cannot be changed.")


def read_archive(file: Path) -> ModelArchive:
    """The archive in a file; ArchiveError, a line that names it, for anything else."""
    try:
        with open_regular(file) as opened:
            size = os.fstat(opened.fileno()).st_size
            data = b"" if size > ARCHIVE_MAX_BYTES else opened.read(ARCHIVE_MAX_BYTES + 1)
    except OSError as error:
        raise ArchiveError(f"{file} cannot be read: {error.strerror}; name a file of `weather model export`") from None
    if size > ARCHIVE_MAX_BYTES:
        raise ArchiveError(f"{file} has {size:,} bytes, more than {ARCHIVE_MAX_BYTES:,}; no model is that large")
    try:
        return unpacked(data)
    except ArchiveError as error:
        raise ArchiveError(f"{file} cannot be imported: {error}") from None


def import_job() -> dg.JobDefinition:
    """The `import_model` job. Its run materialises `{target}/production`, so that lineage shows where it came from."""

    @dg.op(name=IMPORT_OP, description=f"{__doc__}", out=dg.Out(dg.Nothing))
    def import_one(
        context: dg.OpExecutionContext,
        config: ImportConfig,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
        mlflow: dg.ResourceParam[MlflowRun],
    ) -> None:
        why = " ".join(config.why.split())
        if config.replace and len(why) < WHY_MIN_CHARACTERS:
            raise ImportRefusedError(
                f"replacing a model that serves needs a reason of {WHY_MIN_CHARACTERS} characters or more (`why`); "
                "nothing was changed"
            )
        archive = read_archive(Path(config.file))
        audit = Audit(
            decision_id=None,
            reason=why,
            dagster_run_id=context.run_id,
            changed_at=run_created_at(context.instance, context.run_id),
        )
        imported = import_version(archive, registry, database, lake.lake(), mlflow, audit, replacing=config.replace)
        model = imported.model
        for warning in imported.warnings:
            context.log.warning(f"{model.name}: {warning}")
        context.log_event(
            dg.AssetMaterialization(
                [model.target, "production"],
                description=f"import of {model.origin or 'a version that was known'}",
                metadata={**facts_of_import(imported), "warnings": list(imported.warnings)},
                tags={DATA_VERSION_TAG: model.digest},
            )
        )

    @dg.job(
        name=IMPORT_JOB,
        description="A model of another home (`weather model export`) is registered, and Production moves to it.",
        executor_def=dg.in_process_executor,
    )
    def import_model() -> None:
        import_one()

    return import_model
