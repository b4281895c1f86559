"""`weather reproduce`: a registered version trained once more from what was recorded with it, and the two compared.

What belongs here: reading record and rows, training, and saying what came out. What does not: what counts as a
difference (``domain.reproduction``). Nothing is logged, registered or moved.
"""

import os
from dataclasses import replace

from rich.console import Console

from weather_platform.assets.models import rows_up_to
from weather_platform.cli.progress import console_of_errors, doing
from weather_platform.code_version import code_version
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.features import FEATURE_VERSION
from weather_platform.domain.recalibration import recalibrated
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
from weather_platform.domain.training import Contract, Predictor, TrainedModel, sha256, train
from weather_platform.errors import LakeError, ReproductionError
from weather_platform.lake import Lake, Snapshot, TablePartitions
from weather_platform.resources.recalibration import recorded_rows
from weather_platform.resources.registry import CALIBRATED_TAGS, ModelRegistry, RegisteredModel
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
    return _reproduced(lake, registry, registry.existing_version(target, version))[0]


def _reproduced(lake: Lake, registry: ModelRegistry, model: RegisteredModel) -> tuple[Reproduction, bytes | None]:
    """The statement, and the model file that came out; of a version with another calibration its base is made first."""
    if model.base is not None and model.origin is None:
        return _calibrated_again(lake, registry, model)
    console = console_of_errors()
    with doing("reading what was recorded with the version"):
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
        return Reproduction(name=model.name, digest=model.digest, made_digest=None, differences=tuple(known)), None
    if gone := _gone(lake, recipe):
        return Reproduction(name=model.name, digest=model.digest, made_digest=None, differences=(*gone, *known)), None
    with doing(f"training {recipe.algorithm} again"):
        made = _trained_again(lake, recipe)
    done = Reproduction(
        name=model.name,
        digest=model.digest,
        made_digest=made.digest,
        differences=(*known, *library_differences(recipe.libraries, made.libraries)),
        parts=tuple(
            differing_parts(recorded_contract, made.contract_bytes, recipe.first_fit_sha256, made.first_fit_sha256)
        ),
        first_fit_sha256=recipe.first_fit_sha256,
    )
    return done, made.model_bytes


def _calibrated_again(lake: Lake, registry: ModelRegistry, model: RegisteredModel) -> tuple[Reproduction, bytes | None]:
    """A version whose calibration was fitted on later rows: its base is made, then the calibration on the file made."""
    assert model.base is not None  # noqa: S101 - the caller asked
    base = registry.version(model.target, model.base)
    trained, model_bytes = _reproduced(lake, registry, base)
    recorded_contract, _ = registry.verified_files(model)
    gone = _gone_calibration(lake, model)
    if model_bytes is None or gone:
        found = (*trained.differences, *gone)
        return Reproduction(name=model.name, digest=model.digest, made_digest=None, differences=found), None
    base_contract = Contract.from_bytes(registry.verified_files(base)[0])
    contract = replace(base_contract, model_sha256=sha256(model_bytes)).to_bytes()
    predictor = Predictor.load(contract, model_bytes, digest=sha256(contract))
    golden = registry.golden(base, predictor.contract.feature_names)
    with doing("fitting the calibration again"):
        made = recalibrated(predictor, model_bytes, golden, recorded_rows(lake, model))
    parts = differing_parts(recorded_contract, made.contract_bytes)
    return (
        Reproduction(
            name=model.name,
            digest=model.digest,
            made_digest=made.predictor.digest,
            differences=trained.differences,
            parts=tuple(dict.fromkeys([*(part for part in trained.parts if part == "the first fit"), *parts])),
            first_fit_sha256=trained.first_fit_sha256,
        ),
        model_bytes,
    )


def _gone_calibration(lake: Lake, model: RegisteredModel) -> list[Difference]:
    """The version of the features that the calibration was fitted on, if it can no longer be read."""
    first, last, version = (model.tags[name] for name in CALIBRATED_TAGS)
    newest = lake.snapshot("features")
    if int(version) > newest.version:
        said = f"table 'features' has no version {version}, its newest is {newest.version}; is this the same lake?"
        return [Difference("data", said)]
    missing = _missing(lake, "features", int(version), int(last[:4]), from_year=int(first[:4]))
    return [Difference("data", f"table 'features' version {version} was vacuumed: {missing}")] if missing else []


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


def _missing(lake: Lake, table: str, version: int, year: int, from_year: int = 0) -> str:
    """What is missing of an old version, in a few words; nothing when it is whole."""
    try:
        old: Snapshot = lake.snapshot(table, version)
    except LakeError:
        return "its log entry is gone"
    files = old.missing_files(key for key in old.row_counts() if from_year <= int(key) <= year)
    return f"{len(files)} of its files are gone, the first is {files[0]}" if files else ""


def _tables(recipe: Recipe) -> tuple[str, str]:
    return "features", f"{recipe.target}__split"
