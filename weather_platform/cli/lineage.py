"""`weather lineage`: the way back from one forecast to the line of the file it came from.

What belongs here: following the records, step by step, and printing them. What does not: what counts as changed
(``domain.lineage``). Every step goes by what was written down when it was made: the forecast names its version, version
and materializations name the lake versions they read, the clean row names its file and line. Nothing is guessed; what
nobody wrote down is called so.
"""

import sys
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.tree import Tree

from weather_platform.cli.names import catalogue_of, stations_named
from weather_platform.cli.reading import RunHistory, reading_database, reading_history
from weather_platform.cli.show import parse_day
from weather_platform.database import Database
from weather_platform.domain.lineage import Trace
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.recognition import Recogniser, StationText, in_words
from weather_platform.domain.splits import Split, split_from_manifest
from weather_platform.domain.stations import stations_of
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.errors import LakeError, PartitionMissingError
from weather_platform.lake import Lake
from weather_platform.lake.provenance import read_version_key
from weather_platform.resources.registry import CALIBRATED_TAGS, PRODUCTION, ModelRegistry, RegisteredModel
from weather_platform.settings import Settings
from weather_platform.stores import open_lake


def show_lineage(settings: Settings, target_name: str, station_text: str, day_text: str, version: int | None) -> None:
    """Print the tree of one forecast."""
    target, day = TARGETS[target_name], parse_day(day_text)
    with reading_database(settings) as database, reading_history(settings) as history:
        lake, registry = open_lake(settings), ModelRegistry.for_reading(settings)
        [station] = stations_named([station_text], catalogue_of(lake))
        forecast = _forecast(database, registry, target, station, day, version)
        model = registry.version(target.name, forecast["model_version"])
        tree = Tree(_told(target, forecast))
        _add_model(tree, lake, registry, database, model)
        _add_rows(tree, lake, history, target, forecast)
    # A terminal wraps lines; a file or a pipe gets each whole, so that paths and digests can be searched for.
    width = None if sys.stdout.isatty() else _NEVER_WRAPPED
    Console(highlight=False, markup=False, width=width).print(tree)


def _forecast(
    database: Database, registry: ModelRegistry, target: ForecastTarget, station: str, day: date, version: int | None
) -> Mapping[str, Any]:
    """The stored forecast: of the version asked for, else of Production, else of the newest that made one."""
    found = {
        row["model_version"]: row for row in database.forecasts(target.name, day, day, station=station).to_pylist()
    }
    if version is None:
        production = registry.aliases(target.name).get(PRODUCTION)
        version = production if production in found else max(found, default=None)
    if version not in found:
        which = "no version has" if version is None else f"version {version} has not"
        others = f"; there are forecasts of {', '.join(map(str, sorted(found)))}" if found else ""
        of_today = version is None or version == registry.aliases(target.name).get(PRODUCTION)
        makes = f"`weather forecast --date {day}` makes one" if of_today else "`weather models` lists the versions"
        raise PartitionMissingError(f"{target.name}: {which} forecast {station} on {day}{others}; {makes}")
    forecast: Mapping[str, Any] = found[version]
    return forecast


def _told(target: ForecastTarget, forecast: Mapping[str, Any]) -> str:
    day: date = forecast["day"]
    if forecast["probability"] is None:
        said = f"{forecast['value']:.2f} {target.unit} ({forecast['value_low']:.2f} to {forecast['value_high']:.2f})"
    else:
        said = f"{forecast['probability']:.4f} {target.unit}, {'yes' if forecast['label'] else 'no'}"
        said += f" (yes from {forecast['threshold']:.4f})"
    moment = f"{forecast['issued_at']:%Y-%m-%d %H:%M} UTC"
    return (
        f"{target.name} at {forecast['station']}, issued {day} for {day + timedelta(days=1)}: {said}; "
        f"{forecast['kind']}, written by Dagster run {forecast['dagster_run_id']} at {moment}"
    )


def _add_model(tree: Tree, lake: Lake, registry: ModelRegistry, database: Database, model: RegisteredModel) -> None:
    recipe = registry.recipe(model.run_id)
    aliases = [alias for alias, number in sorted(registry.aliases(model.target).items()) if number == model.version]
    branch = tree.add(
        f"model: version {model.version}, {recipe.algorithm}{''.join(f', {alias}' for alias in aliases)}, "
        f"SHA-256 {model.digest}"
    )
    branch.add(f"MLflow run {model.run_id}: seed {recipe.seed}, threads {recipe.threads}; code {recipe.code}")
    branch.add(_promotion(database, model))
    if model.base is not None:
        first, last, lake_version = (model.tags[name] for name in CALIBRATED_TAGS)
        branch.add(
            f"calibrated again on {first} to {last} (lake version {lake_version} of table 'features'); "
            f"the model file is that of version {model.base}:"
        )
    if model.origin is not None:
        branch.add(f"imported: it was {model.origin}, whose rows trained it and are not here")
        return
    features, manifest = recipe.lake_versions["features"], recipe.lake_versions[f"{model.target}__split"]
    branch.add(f"split: {_split(lake, model.target, recipe.year, manifest)}")
    branch.add(f"trained on features version {recipe.feature_version}, lake version {features} of table 'features'")


def _promotion(database: Database, model: RegisteredModel) -> str:
    decisions = {record.id: record for record in database.decisions(model.target)}
    moves = [move for move in database.alias_changes(model.target, PRODUCTION) if move.to_version == model.version]
    if not moves:
        return "promotion: this version was never in Production"
    move = moves[-1]
    moved = f"in Production since {move.changed_at:%Y-%m-%d %H:%M} UTC (Dagster run {move.dagster_run_id})"
    decision = decisions.get(move.decision_id)
    if decision is None or (decision.decision, decision.challenger_version) != (Verdict.DEPLOY, model.version):
        return f"promotion: {moved}, by no decision: {move.reason}"  # a rollback names the decision that it overrules
    champion = f"version {decision.champion_version}" if decision.champion_version else "no champion"
    return (
        f"promotion: {moved} by decision {decision.id}, {decision.decision} of {decision.year} against {champion}: "
        f"{'; '.join(decision.reasons)}"
    )


def _split(lake: Lake, target: str, year: int, version: int) -> str:
    table = f"{target}__split"
    try:
        split: Split = split_from_manifest(lake.snapshot(table, version).read(keys=[str(year)]))
    except LakeError:
        return f"lake version {version} of table '{table}' was vacuumed"
    spans = f"trained on {split.train}, validated on {split.validation}, tested on {split.test}"
    rule = f"test year {year}" if split.as_of is None else f"the newest days as of {split.as_of}"
    return f"{spans} ({rule}, lake version {version} of table '{table}')"


def _add_rows(tree: Tree, lake: Lake, history: RunHistory, target: ForecastTarget, forecast: Mapping[str, Any]) -> None:
    station, day = forecast["station"], forecast["day"]
    year, here = str(day.year), (pc.field("station") == station) & (pc.field("day") == day)
    version = _read_version(
        history, [target.name, "forecasts"], day.isoformat(), "features", run_id=forecast["dagster_run_id"]
    )
    features = _trace(lake, "features", year, here, version)
    branch = tree.add(
        f"features: version {forecast['feature_version']}, row {station} {day} of {_where(features)}; "
        f"neighbour fields come from the other stations of the same days"
    )
    version = _read_version(history, ["features"], year, "observations", lake_version=features.version)
    observation = _trace(lake, "observations", year, here, version)
    branch = branch.add(f"observation: row {station} {day} of {_where(observation)}")
    clean = observation.row
    if clean is None:
        return
    branch.add(", ".join(f"{c.name} {clean[c.name]}" for c in OBSERVATION_COLUMNS if clean[c.name] is not None))
    line = (pc.field("file") == clean["file"]) & (pc.field("row_number") == clean["row_number"])
    version = _read_version(history, ["observations"], year, "raw_observations", lake_version=observation.version)
    received = _trace(lake, "raw_observations", day.isoformat()[:7], line, version)
    branch = branch.add(
        f"raw row: {clean['source']} file {clean['file']}, line {clean['row_number']}; of {_where(received)}"
    )
    if received.row is None:
        return
    said = StationText.of(received.row)
    found = Recogniser(stations_of(lake.read("stations"))).recognise(said)
    branch.add(f"station: {in_words(found, said)}" if found else "station: not in the catalogue any more")
    texts = [str(text) for name, text in received.row.items() if name not in _OF_OUR_OWN and text is not None]
    branch.add(f"as received {received.row['fetched_at']:%Y-%m-%d %H:%M} UTC: {', '.join(texts)}", highlight=False)
    if made := _made(received.row):
        branch.add(f"the file was {made}")
    for other in _duplicates(lake, history, received, station, day):
        branch.add(
            f"chosen over file {other['file']}, line {other['row_number']}, {_made(other)}: the newer file wins, then "
            "the last name and line",
            highlight=False,
        )


def _made(row: Mapping[str, Any]) -> str:
    """When the file of a raw row was made and how that is known, which decides between two rows of a day."""
    if (prepared := row.get("prepared_at")) is not None:
        return f"prepared {prepared:%Y-%m-%d %H:%M} UTC, as it says itself"
    if (modified := row.get("modified_at")) is not None:
        return f"last changed {modified:%Y-%m-%d %H:%M:%S} UTC and does not say when it was prepared"
    return ""  # generated rows, and those of an earlier version


def _duplicates(lake: Lake, history: RunHistory, received: Trace, station: str, day: date) -> list[Mapping[str, Any]]:
    """The raw rows of this station and day that were rejected as duplicates of the one that was received."""
    table, year, read = "quarantined_observations", str(day.year), read_version_key("raw_observations")
    made = (each.numbers for each in history.materialisations([table], year, _NEWEST_RECORDS))
    stored = next((numbers.get("lake_version") for numbers in made if numbers.get(read) == received.version), None)
    here = (pc.field("rule") == "duplicate") & (pc.field("day") == day)
    try:
        found = lake.snapshot(table, stored).read(keys=[year], where=here)
    except LakeError:  # that version was vacuumed
        return []
    ids = Recogniser(stations_of(lake.read("stations"))).ids(found)
    return found.filter(pc.equal(ids.cast(pa.string()), station)).to_pylist()  # type: ignore[no-any-return]


_OF_OUR_OWN = (
    "month", "day", "source", "file", "row_number", "fetched_at", "prepared_at", "modified_at", "date_fault",
)  # fmt: skip


def _where(trace: Trace) -> str:
    return f"table '{trace.table}', lake version {trace.version}, {trace.since()}"


def _trace(lake: Lake, table: str, key: str, condition: pc.Expression, version: int | None) -> Trace:
    def row_of(number: int | None) -> Mapping[str, Any] | None:
        rows = lake.snapshot(table, number).read(keys=[key], where=condition).to_pylist()
        return rows[0] if rows else None

    newest = lake.version(table)
    now = row_of(newest)
    if version is None:
        return Trace(table, None, newest, None, now)
    try:
        return Trace(table, version, newest, row_of(version), now)
    except LakeError:  # the newest could be read, so the store is there and the old files are not
        return Trace(table, None, newest, None, now)


def _read_version(
    history: RunHistory,
    asset: list[str],
    partition: str,
    upstream: str,
    *,
    run_id: str | None = None,
    lake_version: int | None = None,
) -> int | None:
    """The version of `upstream` that a partition was made from, by this run or as it stood at this lake version."""
    for made in history.materialisations(asset, partition, _NEWEST_RECORDS):
        if run_id is not None and made.run_id != run_id:
            continue
        if lake_version is not None and made.numbers.get("lake_version", lake_version + 1) > lake_version:
            continue
        return made.numbers.get(read_version_key(upstream))
    return None


_NEVER_WRAPPED = 10_000

_NEWEST_RECORDS = 1_000
"""Materializations of one partition that are looked at, newest first."""
