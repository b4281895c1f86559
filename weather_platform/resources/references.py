"""Climatology and persistence of a model version, as they were known when it was trained.

What belongs here: where they come from. What does not: what they are (``domain.matured``).
"""

import pyarrow.compute as pc

from weather_platform.domain.matured import References, facts_columns, fit_references
from weather_platform.domain.splits import split_from_manifest
from weather_platform.domain.targets import ForecastTarget
from weather_platform.lake import Lake
from weather_platform.resources.registry import FIRST_FIT_TAG, ModelRegistry


def references_of(target: ForecastTarget, registry: ModelRegistry, lake: Lake, version: int) -> References:
    """From the very rows of the lake that trained the version; of an imported one, those that came with it."""
    model = registry.version(target.name, version)
    if model.origin is not None:
        return References.from_bytes(registry.verified_references(model))
    year, table = model.tags["year"], f"{target.name}__split"
    split = split_from_manifest(lake.snapshot(table, model.lake_version(table)).read(keys=[year]))
    refit = FIRST_FIT_TAG in model.tags
    features = lake.snapshot("features", model.lake_version("features"))
    rows = features.read(
        keys=[key for key in features.row_counts() if key <= year],
        columns=facts_columns(target),
        where=pc.field("day") <= (split.validation if refit else split.train).last,
    )
    return fit_references(target, split, rows, refit=refit)
