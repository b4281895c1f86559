"""What a source has that the tables do not, known from one look at its files, or from its rows.

What belongs here: the record of how far a home is up to date, and the comparison of a source with it. What does not:
which runs bring a change in (``automation.plan``), and running them (the `weather` command).

The record is an observation of `raw_observations` in Dagster's event log: the stamp of the source, and the version of
the stored rows at that moment. While neither has changed, nothing is new, and no file is read. Otherwise the rows of
each month are compared with the stored ones.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import dagster as dg

from weather_platform.code_version import DISTRIBUTION
from weather_platform.domain.stations import stations_of
from weather_platform.lake.provenance import RAW_TABLE, STATIONS_TABLE
from weather_platform.sources.changes import MonthChange, all_months, changed_months

if TYPE_CHECKING:
    from weather_platform.lake import Lake
    from weather_platform.sources import Source

RAW = dg.AssetKey(RAW_TABLE)
STAMP, LAKE_VERSION, CODE = "source_stamp", "lake_version", "code"


@dataclass(frozen=True, slots=True)
class Settled:
    """The last moment at which the tables held all that the source had."""

    stamp: str
    lake_version: int | None
    code: str


def settled(instance: dg.DagsterInstance) -> Settled | None:
    """The newest record; None when there is none."""
    for record in instance.fetch_observations(RAW, limit=1).records:
        observation = record.asset_observation
        if observation is not None and STAMP in observation.metadata:
            noted: dict[str, Any] = {name: value.value for name, value in observation.metadata.items()}
            return Settled(noted[STAMP], noted.get(LAKE_VERSION), noted[CODE])
    return None


def settle(instance: dg.DagsterInstance, lake: "Lake", stamp: str) -> None:
    """Record that the tables hold what the source of this stamp has."""
    metadata: dict[str, str | int] = {STAMP: stamp, CODE: version(DISTRIBUTION)}
    if lake.exists(RAW_TABLE):
        metadata[LAKE_VERSION] = lake.version(RAW_TABLE)
    said = "All that the source has is stored."
    instance.report_runless_asset_event(dg.AssetObservation(RAW, description=said, metadata=metadata))


def is_settled(known: Settled | None, lake: "Lake", stamp: str) -> bool:
    """Whether neither the source, nor the stored rows, nor the code that reads them changed since the record."""
    return (
        known is not None
        and (known.stamp, known.code) == (stamp, version(DISTRIBUTION))
        and lake.exists(RAW_TABLE)
        and known.lake_version == lake.version(RAW_TABLE)
    )


def new_in(source: "Source", lake: "Lake") -> list[MonthChange]:
    """The months of the source that are new or have other rows than the stored ones, ascending. Reads the source.

    With another catalogue every month counts: rows that were of no known station may be of one now, and a station is a
    neighbour of all others.
    """
    stored = lake.row_counts(RAW_TABLE, "month")
    if changed_stations(source, lake):
        return list(all_months(source, stored))
    return list(changed_months(source, stored, lambda months: lake.snapshot(RAW_TABLE).read(keys=months)))


def changed_stations(source: "Source", lake: "Lake") -> list[str]:
    """Ids of the stations that are not in the stored catalogue, or are there with other facts."""
    if not lake.exists(STATIONS_TABLE):
        return []
    known = set(stations_of(lake.read(STATIONS_TABLE)))
    return [station.id for station in source.stations() if station not in known]
