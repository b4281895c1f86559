"""Which partitions are behind what they are made from: asked by `weather update` and by the automation conditions.

What belongs here: reading what the newest materialisations and the database tell. What does not: the rules
(``automation.plan``), and running or requesting anything.
"""

import dagster as dg

from weather_platform.automation import plan
from weather_platform.database import Database
from weather_platform.domain.alias_moves import serving
from weather_platform.io_managers.stored import (
    FEATURES_TABLE,
    MEASURED_OF,
    OBSERVATIONS_TABLE,
    NewestEvents,
    metadata_of,
    stored_by,
)
from weather_platform.lake.masks import MASKS_TABLE
from weather_platform.lake.provenance import RAW_TABLE, read_version_key
from weather_platform.resources.registry import PRODUCTION

RAW, OBSERVATIONS, FEATURES = (dg.AssetKey(name) for name in (RAW_TABLE, OBSERVATIONS_TABLE, FEATURES_TABLE))
DRIFT = dg.AssetKey("drift_report")
MASKS = dg.AssetKey(MASKS_TABLE)

Behind = dict[str, str]
"""Partition keys, each with what it would be made from now, in words that are the same as long as that is."""


class Behindhand:
    """Asks what is behind. One object is kept as long as the process, so that no event is read twice."""

    def __init__(self) -> None:
        self._stored = NewestEvents(stored_by)
        self._measured = NewestEvents(lambda record: str(metadata_of(record).get(MEASURED_OF, "")))
        self._reported = NewestEvents(lambda record: metadata_of(record).get(read_version_key(FEATURES_TABLE)))

    def observations(self, instance: dg.DagsterInstance) -> Behind:
        """Years to clean."""
        return plan.years_to_clean(self._stored.of(instance, RAW), self._stored.of(instance, OBSERVATIONS))

    def features(self, instance: dg.DagsterInstance) -> Behind:
        """Years to make the features of."""
        observed, made = self._stored.of(instance, OBSERVATIONS), self._stored.of(instance, FEATURES)
        return plan.years_to_make_features_of(observed, made, self._stored.of(instance, MASKS))

    def forecasts(self, instance: dg.DagsterInstance, database: Database, target: str, first_days: int) -> Behind:
        """Days to forecast with the Production model; none while there is no such model."""
        version = serving(database.alias_changes(target, PRODUCTION))
        if version is None:
            return {}
        features, forecast = self._stored.of(instance, FEATURES), database.forecast_days(target)
        days = plan.days_to_forecast(features, forecast, version, first_days)
        return {day.isoformat(): state for day, state in days.items()}

    def matured_skill(self, instance: dg.DagsterInstance, database: Database, target: str) -> Behind:
        """Months to measure."""
        measured = self._measured.of(instance, dg.AssetKey([target, "matured_skill"]))
        return plan.months_to_measure(self._stored.of(instance, FEATURES), database.forecast_days(target), measured)

    def drift(self, instance: dg.DagsterInstance) -> Behind:
        """Months to report on again."""
        return plan.months_to_report_again(self._stored.of(instance, FEATURES), self._reported.of(instance, DRIFT))
