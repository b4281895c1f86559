"""`weather reproduce`: a registered version trained once more from what was recorded with it, and the two compared.

What belongs here: reading record and rows, training, and saying what came out. What does not: what counts as a
difference (``domain.reproduction``). Nothing is logged, registered or moved.
"""

import os

from rich.console import Console

from weather_platform.assets.models import rows_up_to
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.code_version import code_version
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.features import FEATURE_VERSION
from weather_platform.domain.reproduction import (
    Difference,
    Recipe,
    Reproduction,
    code_differences,
    differing_parts,
    library_differences,
    thread_difference,
)
from weather_platform.domain.splits import split_from_manifest
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import TrainedModel, train
from weather_platform.errors import LakeError, ReproductionError
from weather_platform.lake import Lake, Snapshot, TablePartitions
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import Settings
from weather_platform.stores import open_lake


def show_reproduction(settings: Settings, target: str, version: int) -> None:
    """Print what came out; ReproductionError unless it is the same model bit for bit."""
    done = reproduce(open_lake(settings), ModelRegistry.from_settings(settings), target, version)
    if not done.identical:
        raise ReproductionError(done.verdict())
    Console(highlight=False).print(done.verdict(), soft_wrap=True)


def reproduce(lake: Lake, registry: ModelRegistry, target: str, version: int) -> Reproduction:
    """Train a registered version again from exactly the rows, seed and parameters recorded with it."""
    console = console_of_errors()
    with doing("reading what was recorded with the version"):
        model = registry.existing_version(target, version)
        if model.origin is not None:
            raise ReproductionError(
                f"{model.name} was imported: its training rows are in the home it came from, where it was "
                f"{model.origin}; run `weather reproduce` there"
            )
        recipe = registry.recipe(model.run_id)
        recorded_contract, _ = registry.verified_files(model)
    tables = ", ".join(f"{table} v{number}" for table, number in sorted(recipe.lake_versions.items()))
    console.print(f"{model.name}: {recipe.algorithm} for test year {recipe.year}, run {model.run_id}", soft_wrap=True)
    console.print(f"  from {tables}; seed {recipe.seed}, threads {recipe.threads}; {recipe.code}", soft_wrap=True)
    known = code_differences(recipe, code_version(), FEATURE_VERSION, ALGORITHMS)
    known += thread_difference(recipe.threads, os.environ.get("OMP_THREAD_LIMIT"))
    if recipe.feature_version != FEATURE_VERSION or recipe.algorithm not in ALGORITHMS:
        return Reproduction(name=model.name, digest=model.digest, made_digest=None, differences=tuple(known))
    if gone := _gone(lake, recipe):
        return Reproduction(name=model.name, digest=model.digest, made_digest=None, differences=(*gone, *known))
    with doing(f"training {recipe.algorithm} again"):
        made = _trained_again(lake, recipe)
    return Reproduction(
        name=model.name,
        digest=model.digest,
        made_digest=made.digest,
        differences=(*known, *library_differences(recipe.libraries, made.libraries)),
        parts=tuple(
            differing_parts(recorded_contract, made.contract_bytes, recipe.first_fit_sha256, made.first_fit_sha256)
        ),
        first_fit_sha256=recipe.first_fit_sha256,
    )


def _trained_again(lake: Lake, recipe: Recipe) -> TrainedModel:
    target, algorithm, year = TARGETS[recipe.target], ALGORITHMS[recipe.algorithm], str(recipe.year)
    features, split = (lake.snapshot(table, recipe.lake_versions[table]) for table in _tables(recipe))
    rows = rows_up_to(target, TablePartitions(features, features.row_counts()), year)
    return train(target, algorithm, rows, split_from_manifest(split.read(keys=[year])), recipe.config(algorithm))


def _gone(lake: Lake, recipe: Recipe) -> list[Difference]:
    """The recorded versions of tables that can no longer be read. A store that does not answer raises as ever."""
    gone = []
    for table in _tables(recipe):
        version = recipe.lake_versions[table]
        newest = lake.snapshot(table)  # a store that does not answer fails here
        if version > newest.version:
            said = f"table '{table}' has no version {version}, its newest is {newest.version}; is this the same lake?"
            gone.append(Difference("data", said))
        elif missing := _missing(lake, table, version, recipe.year):
            gone.append(Difference("data", f"table '{table}' version {version} was vacuumed: {missing}"))
    return gone


def _missing(lake: Lake, table: str, version: int, year: int) -> str:
    """What is missing of an old version, in a few words; nothing when it is whole."""
    try:
        old: Snapshot = lake.snapshot(table, version)
    except LakeError:
        return "its log entry is gone"
    files = old.missing_files(key for key in old.row_counts() if key <= str(year))
    return f"{len(files)} of its files are gone, the first is {files[0]}" if files else ""


def _tables(recipe: Recipe) -> tuple[str, str]:
    return "features", f"{recipe.target}__split"
