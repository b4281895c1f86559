"""The endpoint resource: where the running service is, and whether it says what the batch says.

What belongs here: the way into the service for assets and checks, and the comparison of its answers. What does not: the
calls themselves (``client``), or when they are made. Nothing is asked before `client` is called.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import SecretStr

from weather_platform.database import Database
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.errors import PartitionMissingError, SettingsError
from weather_platform.lake import Lake
from weather_platform.resources.registry import PRODUCTION, RegisteredModel
from weather_platform.settings import Settings

if TYPE_CHECKING:
    from weather_platform.client import Forecast, ModelAnswer, ModelEntry, StationDay, WeatherClient

GOLDEN_STATION_DAYS = 24
"""Station-days that are asked for one by one, spread evenly over the stations; the batch route is asked for all."""

_CATCH_UP_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 0.5
"""The service follows the alias by polling: so long it may take to serve what was promoted just now."""

_TO_SET = "set WEATHER_ENDPOINT_URL, and WEATHER_USER and WEATHER_PASSWORD of one of its users"


@dataclass(frozen=True)
class Endpoint:
    """One service, as one of its users; printing it shows no password. Each part may be unset until it is asked."""

    url: str | None
    user: str | None
    password: SecretStr | None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The service that the settings name."""
        return cls(settings.endpoint_url, settings.user, settings.password)

    @property
    def unnamed(self) -> str | None:
        """What to set so that there is a service to ask; None when one is named."""
        return None if self.url is not None else f"no endpoint is configured: {_TO_SET}"

    def client(self) -> "AbstractContextManager[WeatherClient]":
        """A client, signed in at its first call; SettingsError when the settings name no service or no user."""
        from weather_platform.client import WeatherClient

        if self.url is None or self.user is None or self.password is None:
            raise SettingsError(f"no service to ask: {_TO_SET}")
        return WeatherClient(self.url, self.user, self.password.get_secret_value())


def served_model(client: "WeatherClient", model: RegisteredModel) -> "ModelEntry | None":
    """What the service serves as Production of the target; waits a little when that is not yet this version."""
    give_up = time.monotonic() + _CATCH_UP_SECONDS
    while True:
        served = client.models().models
        entry = next((each for each in served if (each.target, each.alias) == (model.target, PRODUCTION)), None)
        if (entry is not None and entry.digest == model.digest) or time.monotonic() >= give_up:
            return entry
        time.sleep(_ASK_AGAIN_SECONDS)


def newest_forecasts(database: Database, model: RegisteredModel) -> pa.Table:
    """The batch forecasts of this version on the newest day it has forecast; PartitionMissingError without any."""
    day = database.newest_forecast_day(model.target, model.version)
    if day is None:
        raise PartitionMissingError(
            f"{model.name} has no batch forecast to compare with; materialise {model.target}/forecasts first"
        )
    return database.forecasts(model.target, day, day, model_version=model.version)


def unlike_the_batch(
    client: "WeatherClient", lake: Lake, model: RegisteredModel, forecasts: pa.Table
) -> dict[str, str]:
    """The station-days of these forecasts of one day that the service answers otherwise, in any bit: what it says.

    Each is sent as it was observed: some one by one, and all together.
    """
    observed = _station_days(lake, forecasts["day"][0].as_py())
    expected = {row["station"]: row for row in forecasts.to_pylist()}
    if absent := sorted(expected.keys() - observed.keys()):
        return dict.fromkeys(absent, "the batch has a forecast, and the lake no observation")
    stations = list(expected)
    golden = stations[:: max(1, len(stations) // GOLDEN_STATION_DAYS)]
    findings: dict[str, str] = {}
    for station in golden:
        fields: Any = {name: value for name, value in observed[station].items() if name not in ("station", "day")}
        answer = client.predict(model.target, station, observed[station]["day"], fields)
        if said := _difference(answer, answer, expected[station]):
            findings[f"{station}, /v1/predict"] = said
    for some in _slices(stations, _LARGEST_BATCH):
        batch = client.predict_batch(model.target, [observed[station] for station in some])
        for answered in batch.forecasts:
            if said := _difference(answered, batch, expected[answered.station]):
                findings[f"{answered.station}, /v1/predict/batch"] = said
    return findings


_LARGEST_BATCH = 10_000


def _slices(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]


def _station_days(lake: Lake, day: date) -> "dict[str, StationDay]":
    columns = ["station", "day", *(column.name for column in OBSERVATION_COLUMNS)]
    rows = lake.snapshot("observations").read(keys=[str(day.year)], columns=columns, where=pc.field("day") == day)
    return {row["station"]: row for row in rows.to_pylist()}


def _difference(said: "Forecast", by: "ModelAnswer", expected: Mapping[str, Any]) -> str | None:
    """How an answer differs from the stored forecast; two floats have the same `repr` when they have the same bits."""
    pairs = {
        "model_digest": (by.model_digest, expected["model_digest"]),
        "feature_version": (by.feature_version, expected["feature_version"]),
        "day": (said.day, expected["day"]),
        "kind": (said.kind, expected["kind"]),
        "probability": (said.probability, expected["probability"]),
        "threshold": (by.threshold, expected["threshold"]),
        "label": (said.label, expected["label"]),
        "value": (said.value, expected["value"]),
        "low": (said.low, expected["value_low"]),
        "high": (said.high, expected["value_high"]),
    }
    found = [f"{name} {own}, batch {batch}" for name, (own, batch) in pairs.items() if repr(own) != repr(batch)]
    return ", ".join(found) or None
