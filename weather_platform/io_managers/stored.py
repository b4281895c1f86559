"""What the newest materialisation of each partition tells: the version it stored, made from which, which days changed.

What belongs here: writing that into the metadata of a materialisation, and reading it back. What does not: which
partitions follow from it (``automation.plan``).

Days are compared with the version that the last recorded materialisation stored, and not with what is in the table:
after a commit whose process died before it was recorded, the next run still finds its days changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Generic, TypeVar

import dagster as dg

from weather_platform.domain.day_versions import DayVersions
from weather_platform.domain.feature_table import OBSERVED, label_column
from weather_platform.domain.features import feature_names
from weather_platform.domain.targets import TARGETS
from weather_platform.errors import WeatherError
from weather_platform.lake import Lake, Snapshot
from weather_platform.lake.day_digests import day_digests, differing_days

OBSERVATIONS_TABLE, FEATURES_TABLE = "observations", "features"
ROWS, INPUTS, LABELS = "rows", "inputs", "labels"
WATCHED: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    OBSERVATIONS_TABLE: {ROWS: OBSERVED},
    FEATURES_TABLE: {
        INPUTS: ("station", "day", *feature_names()),
        LABELS: ("station", "day", *(label_column(target) for target in TARGETS)),
    },
}
"""The tables whose days are compared, and by which columns."""

MEASURED_OF: Final = "measured_of"
"""Metadata of a month of matured skill: what it was measured of, in the words of `state_of_month`."""
_CHANGED: Final = "changed_days_"
_LAST_DAY, _VERSION, _READ = "last_day", "lake_version", "_lake_version"
_PAGE: Final = 100
Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Stored:
    """One partition as its newest materialisation stored it."""

    version: int
    rows: int = 0
    last_day: date | None = None
    """The newest day with rows."""
    read: Mapping[str, int] = field(default_factory=dict)
    """The version of each table that it was made from."""
    changed: Mapping[str, DayVersions] = field(default_factory=dict)
    """By a name of WATCHED; empty for a partition that an older version of the platform stored."""

    def days(self, part: str) -> DayVersions:
        """In which version each day of a part last changed; no day when that is not known."""
        return self.changed.get(part, DayVersions({}))


def changes_of(
    instance: dg.DagsterInstance, lake: Lake, table: str, partition: str, version: int
) -> dict[str, dg.MetadataValue[Any]]:
    """The metadata that says in which version each day of a partition last changed; nothing for other tables.

    `version` is the one that stored the partition just now.
    """
    if table not in WATCHED:
        return {}
    before = newest_event(instance, dg.AssetKey(table), partition, stored_by)
    now, then = lake.snapshot(table, version), _as_it_was(lake, table, partition, before)
    days = day_digests(now, partition, ("day",))
    told: dict[str, dg.MetadataValue[Any]] = {}
    for name, columns in WATCHED[table].items():
        record = DayVersions(dict.fromkeys(days, version))
        if before is not None and then is not None:
            old = day_digests(then, partition, columns)
            known = before.changed.get(name) or DayVersions(dict.fromkeys(old, before.version))
            record = known.changed_in(version, differing_days(old, day_digests(now, partition, columns)))
        told[_CHANGED + name] = dg.MetadataValue.json(record.spans())
    return told | ({_LAST_DAY: dg.MetadataValue.text(max(days).isoformat())} if days else {})


def _as_it_was(lake: Lake, table: str, partition: str, before: Stored | None) -> Snapshot | None:
    """The version of the table that a partition was stored in; None when there was none or its files are gone."""
    if before is None:
        return None
    try:
        snapshot = lake.snapshot(table, before.version)
        return None if snapshot.missing_files([partition]) else snapshot
    except WeatherError:
        # An old version that was cleaned away: every day counts as changed. A store that is away has failed already, at
        # the new version.
        return None


class NewestEvents(Generic[Told]):
    """What the newest materialisation of each partition tells. Those that were read once are remembered.

    `read` gives what an event tells; None is an event that tells nothing, so that the one before it counts.
    """

    def __init__(self, read: Callable[[dg.EventLogRecord], Told | None]) -> None:
        self._read = read
        self._known: dict[tuple[str, dg.AssetKey], dict[str, tuple[int, Told | None]]] = {}

    def of(self, instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, Told]:
        """What is told of every partition of an asset, by key."""
        known = self._known.setdefault((instance.root_directory, key), {})
        newest = instance.get_latest_storage_id_by_partition(key, dg.DagsterEventType.ASSET_MATERIALIZATION)
        news = {name: at for name, at in newest.items() if name not in known or known[name][0] != at}
        read = self._of_events(instance, key, sorted(news.values()))
        for name, at in news.items():
            told = read[name] if name in read else newest_event(instance, key, name, self._read)
            known[name] = (at, told)
        for gone in known.keys() - newest.keys():
            del known[gone]
        return {name: told for name, (_, told) in sorted(known.items()) if told is not None}

    def _of_events(self, instance: dg.DagsterInstance, key: dg.AssetKey, storage_ids: Sequence[int]) -> dict[str, Told]:
        found: dict[str, Told] = {}
        for at in range(0, len(storage_ids), _PAGE):
            asked = dg.AssetRecordsFilter(asset_key=key, storage_ids=storage_ids[at : at + _PAGE])
            for record in instance.fetch_materializations(asked, limit=_PAGE).records:
                if record.partition_key is not None and (told := self._read(record)) is not None:
                    found[record.partition_key] = told
        return found


def newest_event(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str, read: Callable[[dg.EventLogRecord], Told | None]
) -> Told | None:
    """What the newest materialisation of one partition that tells anything tells; None when none does."""
    asked = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(asked, limit=_PAGE, cursor=cursor)
        for record in page.records:
            if (told := read(record)) is not None:
                return told
        if not page.has_more:
            return None
        cursor = page.cursor


def stored_by(record: dg.EventLogRecord) -> Stored | None:
    """What an event stored in the lake; None when it passed its partition over."""
    told = metadata_of(record)
    if _VERSION not in told:
        return None
    return Stored(
        version=told[_VERSION],
        rows=told["rows"],
        last_day=date.fromisoformat(told[_LAST_DAY]) if _LAST_DAY in told else None,
        read={name.removesuffix(_READ): value for name, value in told.items() if name.endswith(_READ)},
        changed={
            name.removeprefix(_CHANGED): DayVersions.of_spans(value)
            for name, value in told.items()
            if name.startswith(_CHANGED)
        },
    )


def metadata_of(record: dg.EventLogRecord) -> dict[str, Any]:
    """The metadata of a materialisation as plain values."""
    materialization = record.asset_materialization
    return {name: entry.value for name, entry in materialization.metadata.items()} if materialization else {}
