"""The card of a version at the moment it is registered: its facts gathered, its slices measured, its text kept.

What belongs here: where each fact of the card comes from. What does not: the text (``domain.model_card``).
"""

import numpy as np
import pyarrow.compute as pc

from weather_platform.domain.algorithms import ALGORITHMS, BASELINES
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.matured import SEASONS
from weather_platform.domain.model_card import CardFacts, card_summary, model_card, with_pictures
from weather_platform.domain.slices import season_of, sliced
from weather_platform.domain.splits import Split
from weather_platform.domain.targets import ForecastTarget
from weather_platform.lake import Lake, TablePartitions
from weather_platform.lake.provenance import lake_source
from weather_platform.plots import data_address, small_png
from weather_platform.reports.card_page import card_page
from weather_platform.resources.registry import ModelRegistry, RegisteredModel


def write_card(
    registry: ModelRegistry,
    lake: Lake,
    target: ForecastTarget,
    split: Split,
    features: TablePartitions,
    model: RegisteredModel,
) -> str:
    """Write the card of a registered version beside its model, and give it back with small pictures inside."""
    # Of the version's own run: a candidate with the digest of a known version is registered as that version.
    reference = registry.reference(model.run_id)
    tested = (pc.field("day") >= split.test.first) & (pc.field("day") <= split.test.last)
    table = features.select(training_columns(target)).where(tested).table()
    rows = training_data(table.to_batches(), table.num_rows, target)
    known = ~np.isnan(rows.labels)
    labels, day, station = rows.labels[known], rows.day[known], rows.station_index[known]
    predictor = registry.load(model)
    forecasts, output = predictor.predict(rows.values[known]), predictor.contract.output
    catalogue = lake.read("stations", columns=["id", "state"]).to_pylist()
    states = {row["id"]: row["state"] for row in catalogue}
    state_of = np.asarray([states[name] for name in rows.station_ids])
    pictures = registry.pictures(model.run_id)
    facts = CardFacts(
        target=target,
        algorithm=ALGORITHMS[reference.algorithm],
        version=model.version,
        digest=model.digest,
        run_id=model.run_id,
        recipe=registry.recipe(model.run_id),
        contract=predictor.contract,
        split=split,
        metrics=reference.metrics,
        baselines=[name for name, baseline in BASELINES.items() if target.task in baseline.tasks],
        importance=predictor.model.importance(),
        by_state=sliced(output, labels, forecasts, state_of[station]),
        by_season=sliced(output, labels, forecasts, season_of(day), list(SEASONS)),
        plots=list(pictures),
        source=lake_source(lake) or "unknown",
    )
    card = model_card(facts)
    registry.keep_card(model, card, card_page(card, pictures), card_summary(facts))
    return with_pictures(card, lambda name: data_address(small_png(pictures[name])))
