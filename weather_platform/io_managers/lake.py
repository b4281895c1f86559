"""The IO manager of the lake: assets take and give Arrow tables and never name a store.

The table of an asset is its key joined by `__`; a partitioned asset is stored by the column that its keys are
written in (`%Y` year, `%Y-%m` month, `%Y-%m-%d` day).

An asset gives a `pa.Table` or, for a range, a `Mapping[str, pa.Table]` that is asked for one partition at a
time, a large one replaced before the next is asked for. It takes `TablePartitions`, a lazy view of the partitions
it depends on that are there, or one `pa.Table`.

Which partitions may be absent is one rule for every asset, so nothing is declared: an upstream table must
be there without a hole, from its first partition to its last, and must have something in the time of each
partition being made. So neighbours before the start or after the end of the data (the months to come, the
year after) may be absent; a forgotten month, or a year that was never made, is an error that names it.
A partition that itself lies before the start or after the end may be made when it depends on others that are
there: the features of the year before the first are downstream of the first, the split of a year to come is
downstream of all years before it, and Dagster's UI asks for both when it backfills what is downstream of a year.
*All partitions* begin before the data: an asset that takes `CoveredPartitions` passes over the partitions before the
start and after the end, with the reasons that the view gives, and stores nothing of them. A hole and an empty upstream
are errors for it too.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import dagster as dg
import pyarrow as pa

from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.errors import InvariantError, PartitionMissingError
from weather_platform.io_managers.costs import tell_costs
from weather_platform.io_managers.stored import changes_of
from weather_platform.lake import Lake, Replaced, Snapshot, TablePartitions
from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions
from weather_platform.lake.provenance import lake_source, read_version_key
from weather_platform.resources.lake import LakeResource

PARTITION_COLUMNS: Final[Mapping[str, str]] = {"%Y": "year", "%Y-%m": "month", "%Y-%m-%d": "day"}
"""The column of a partitioned table, by the format of its partition keys."""

_DOCUMENTED: Final = {column.name: f"{column.description} [{column.unit}]" for column in OBSERVATION_COLUMNS} | {
    "id": "Name of the station in the catalogue",
    "name": "Another name of the station; empty when the id is its only one",
    "state": "State or territory; of one's own stations the country, too",
    "latitude_deg": "Latitude, south is negative [deg]",
    "longitude_deg": "Longitude, east is positive [deg]",
    "elevation_m": "Height above mean sea level [m]",
    "timezone": "Time zone of the station's local day",
    "month": "Partition, YYYY-MM",
    "year": "Partition, YYYY",
    "station": "Station, as its catalogue id once the row is clean",
    "station_state": "State in the title of a Bureau file",
    "bureau_product": "Product number of a Bureau file",
    "bureau_stations": "Bureau numbers of the stations that a file was drawn from, the main one first",
    "day": "The station's local day; missing where the date cannot be read",
    "date": "Date as received",
    "wind_gust_time": "Time of the strongest gust, as received",
    "risk_mm": "Tomorrow's rainfall, as received and never used",
    "rain_tomorrow": "Tomorrow's answer, as received and never used",
    "source": "Where the row comes from: csv or synthetic",
    "file": "File of the source that holds the row",
    "row_number": "Line of that file, counted from 1",
    "fetched_at": "When the row was read from its source",
    "prepared_at": "When the file of the row was made, as it says itself; of two rows the one of the newer file wins",
    "modified_at": "When the file of the row was last changed on disk; decides where it does not say when it was made",
    "date_fault": "Why the date is not believed: outside of the month that its file names, or far from all others",
    "rule": "The rule that the row broke",
    "part": "train, validation, test or standing_exam",
    "first_day": "First day of the part",
    "last_day": "Last day of the part",
    "complete": "Whether observations reach the end of the test year",
    "rows": "Rows of the part",
    "labelled": "Rows with a label",
    "days": "Days with a labelled row",
    "positives": "Labels that are yes",
    "balance": "Mean label: the share of yes",
    "features_lake_version": "Version of the features table that was counted",
}


class LakeIOManager(dg.ConfigurableIOManager):
    """Stores assets as Delta tables of the lake and reads them back, one partition at a time."""

    lake: dg.ResourceDependency[LakeResource]

    def handle_output(self, context: dg.OutputContext, obj: pa.Table | Mapping[str, pa.Table]) -> None:
        """Replace the table, or the partitions of the run one after the other, and attach what was stored."""
        lake, table = self.lake.lake(), table_name(context.asset_key)
        if not context.has_asset_partitions:
            version = lake.replace_table(table, obj)
            snapshot = lake.snapshot(table, version)
            rows = snapshot.row_counts()[""]
            told = stored_metadata(rows, version, snapshot.schema) | {"dagster/row_count": rows, "lake_uri": lake.uri}
            context.step_context.add_asset_metadata(told, asset_key=context.asset_key)
            tell_costs(context.step_context)
            return
        passed_over = obj.passed_over if isinstance(obj, ComputedPartitions) else frozenset()
        column = partition_column(context.asset_partitions_def)
        keys = [key for key in context.asset_partition_keys if key not in passed_over]
        source: dict[str, str] = {}
        for replaced in lake.replace_partitions(table, column, _partitions_of(table, keys, obj)) if keys else ():
            told = partition_metadata(replaced)
            source = source or filled_from(lake)  # after the first part is stored: it may be of the raw rows
            told |= source
            told |= changes_of(context.step_context.instance, lake, table, replaced.key, replaced.version)
            if replaced.key != keys[-1]:
                del told["dagster/column_schema"]  # once a range: the UI shows the newest, and each event carries it
            context.step_context.add_asset_metadata(told, asset_key=context.asset_key, partition_key=replaced.key)
        tell_costs(context.step_context)

    def load_input(self, context: dg.InputContext) -> pa.Table | TablePartitions | Snapshot:
        """A view of the upstream partitions, pinned to the newest version and read when it is used."""
        lake, table = self.lake.lake(), table_name(context.asset_key)
        try:
            snapshot = lake.snapshot(table)
        except PartitionMissingError:
            raise PartitionMissingError(
                f"asset '{context.asset_key.to_user_string()}' was never materialised; materialise it first"
            ) from None
        wanted = context.dagster_type.typing_type
        if not context.has_asset_partitions:
            return snapshot if wanted is Snapshot else snapshot.read()
        needed = sorted(context.asset_partition_keys)
        missing = missing_partitions(
            needed,
            snapshot.row_counts(),
            _own_partitions(context, needed),
            reaches=_reaches(context),
            passed_over_outside=wanted is CoveredPartitions,
        )
        if missing:
            raise PartitionMissingError(_missing_message(context.asset_key, missing, snapshot.row_counts()))
        view = (CoveredPartitions if wanted is CoveredPartitions else TablePartitions)(snapshot, needed)
        return view.table() if wanted is pa.Table else view


def table_name(key: dg.AssetKey) -> str:
    """The lake table of an asset: the parts of its key joined by `__`."""
    return "__".join(key.path)


def partition_column(partitions: dg.PartitionsDefinition) -> str:
    """The column in which a partitioned asset holds its partition key."""
    if isinstance(partitions, dg.TimeWindowPartitionsDefinition) and partitions.fmt in PARTITION_COLUMNS:
        return PARTITION_COLUMNS[partitions.fmt]
    raise InvariantError(f"the lake stores partitions written as {', '.join(PARTITION_COLUMNS)}, not {partitions!r}")


def missing_partitions(
    needed: Sequence[str],
    present: Collection[str],
    own: Iterable[Sequence[str]] = (),
    *,
    reaches: bool = False,
    passed_over_outside: bool = False,
) -> list[str]:
    """The partitions whose absence is an error, in order; none when the work can go on.

    `needed` are the upstream partitions asked for, `present` all that the upstream has, and `own` holds for
    each partition being made the upstream partitions that lie in its time. `reaches` says that a partition
    depends on others than those; `passed_over_outside` that the asset stores nothing of a partition before the first
    or after the last of `present`. Keys sort by time.
    """
    if not present:
        return list(needed)
    first, last = min(present), max(present)
    holes = {key for key in needed if first < key < last and key not in present}
    may_be_outside = passed_over_outside or (reaches and any(key in present for key in needed))
    for group in own:
        outside = max(group) < first or min(group) > last
        if not any(key in present for key in group) and not (outside and may_be_outside):
            holes.update(group)
    return sorted(holes)


def read_from(view: TablePartitions) -> dict[str, int]:
    """Which version of which table something was made from: what `weather lineage` goes back by."""
    return {read_version_key(view.name): view.version}


def filled_from(lake: Lake) -> dict[str, str]:
    """Which source the raw rows of this lake are of, so that what is made of generated weather says so."""
    source = lake_source(lake)
    return {} if source is None else {"source": source}


def stored_metadata(rows: int, lake_version: int, schema: pa.Schema) -> dict[str, Any]:
    """What every stored table says of itself."""
    return {"rows": rows, "lake_version": lake_version, "dagster/column_schema": column_schema(schema)}


def partition_metadata(replaced: Replaced) -> dict[str, Any]:
    """What every stored partition says of itself."""
    stored = stored_metadata(replaced.rows, replaced.version, replaced.schema)
    return stored | {"dagster/partition_row_count": replaced.rows}


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """The columns for the UI; descriptions and units from the fields' metadata or the column contract."""
    return dg.TableSchema(columns=[_table_column(field) for field in schema])


def _table_column(field: pa.Field) -> dg.TableColumn:
    told = {name.decode(): text.decode() for name, text in (field.metadata or {}).items()}
    unit = f" [{told['unit']}]" if "unit" in told else ""
    description = f"{told.get('description', '')}{unit}".strip() or _DOCUMENTED.get(field.name)
    return dg.TableColumn(
        field.name,
        str(field.type),
        description,
        constraints=dg.TableColumnConstraints(nullable=field.nullable),
    )


def _partitions_of(
    table: str, keys: list[str], obj: pa.Table | Mapping[str, pa.Table]
) -> Iterator[tuple[str, pa.Table]]:
    if isinstance(obj, Mapping):
        if sorted(obj) != sorted(keys):
            raise InvariantError(f"'{table}' gave partitions {sorted(obj)}, but the run is to make {sorted(keys)}")
        return ((key, obj[key]) for key in keys)
    if len(keys) != 1:
        raise InvariantError(f"'{table}' gave one table for {len(keys)} partitions; give a mapping from key to table")
    return iter([(keys[0], obj)])


def _own_partitions(context: dg.InputContext, needed: Sequence[str]) -> list[list[str]]:
    """For each partition being made, the needed upstream partitions that share time with it."""
    made, upstream = context.step_context.entity_partitions_def, context.asset_partitions_def
    if not (
        isinstance(made, dg.TimeWindowPartitionsDefinition) and isinstance(upstream, dg.TimeWindowPartitionsDefinition)
    ):
        return []
    windows = [(key, upstream.time_window_for_partition_key(key)) for key in needed]
    groups = []
    for key in made.get_partition_keys_in_range(context.step_context.partition_key_range):
        own = made.time_window_for_partition_key(key)
        groups.append([name for name, window in windows if window.start < own.end and own.start < window.end])
    return [group for group in groups if group]


def _reaches(context: dg.InputContext) -> bool:
    """Whether a partition depends on upstream partitions before or after its own time too."""
    step = context.step_context
    assets = step.job_def.asset_layer.get_assets_def_for_node(step.node_handle)
    mapping = assets.get_partition_mapping_for_dep(context.asset_key) if assets else None
    return isinstance(mapping, dg.TimeWindowPartitionMapping) and (mapping.start_offset < 0 or mapping.end_offset > 0)


def _missing_message(asset: dg.AssetKey, missing: list[str], present: Collection[str]) -> str:
    shown = ", ".join(missing[:12]) + (f" and {len(missing) - 12} more" if len(missing) > 12 else "")
    one = len(missing) == 1
    lacks = f"asset '{asset.to_user_string()}' lacks partition{'' if one else 's'} {shown}"
    remedy = f"materialise {'it' if one else 'them'} first"
    if present and (max(missing) < min(present) or min(missing) > max(present)):
        return f"{lacks}; it holds {min(present)} to {max(present)}: choose partitions inside, or {remedy}"
    return f"{lacks}; {remedy}"
