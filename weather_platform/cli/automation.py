"""`weather automation`: what runs by itself, when it last looked and what for; and why an asset was made or was not."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import typer
from rich.console import Console

from weather_platform.automation.explain import Followed, Part, followed, parts_of, reasons
from weather_platform.automation.watchdog import silence
from weather_platform.build import build_definitions
from weather_platform.cli.home import open_instance
from weather_platform.cli.names import did_you_mean, near
from weather_platform.cli.progress import doing
from weather_platform.cli.reading import reading_database, require_home
from weather_platform.settings import Settings


def show_automation(settings: Settings, *, as_json: bool) -> None:
    """Every sensor, schedule and condition, as lines or as one JSON object."""
    require_home(settings)
    now = settings.now()
    with doing("making the asset graph"):
        definitions = build_definitions(settings)
    with open_instance(settings) as instance:
        silent = silence(instance, now)
        parts, conditions = parts_of(definitions, instance, now), followed(definitions, instance)
    if as_json:
        told = {
            "daemon": {"runs": silent is None, "said": silent},
            "parts": [asdict(part) for part in parts],
            "conditions": [asdict(condition) for condition in conditions],
        }
        typer.echo(json.dumps(told, indent=2, default=_plain))
        return
    console = Console(highlight=False)
    daemon = "runs" if silent is None else f"does not run, {silent}; `weather ui --automation` starts it"
    for line in [f"the daemon {daemon}", *_of_parts(parts), *_of_conditions(conditions)]:
        console.print(line, soft_wrap=True, markup=False)


def show_why(settings: Settings, asset: str, partition: str | None) -> None:
    """Why an asset, or one partition of it, was made or was not."""
    require_home(settings)
    with doing("making the asset graph"):
        definitions = build_definitions(settings)
    graph = definitions.resolve_asset_graph()
    known = sorted(key.to_user_string() for key in graph.get_all_asset_keys())
    if asset not in known:
        meant = did_you_mean(near(asset, known)) or f"; there are {', '.join(known)}"
        raise typer.BadParameter(f"no asset {asset}{meant}")
    key = dg.AssetKey.from_user_string(asset)
    partitions = graph.get(key).partitions_def
    if partition is not None and partitions is None:
        raise typer.BadParameter(f"{asset} has no partitions; leave {partition} out")
    if partition is not None and partitions is not None and not partitions.has_partition_key(partition):
        first, last = partitions.get_first_partition_key(), partitions.get_last_partition_key()
        raise typer.BadParameter(f"{asset} has no partition {partition}; its partitions are {first} to {last}")
    console = Console(highlight=False)
    with open_instance(settings) as instance, reading_database(settings) as database:
        found = reasons(definitions, instance, database, key, partition, settings.now())
    console.print(f"{asset} {partition or ''}".rstrip(), soft_wrap=True, markup=False)
    for line in found:
        console.print(f"  {line}", soft_wrap=True, markup=False)


def _of_parts(parts: list[Part]) -> Iterator[str]:
    for part in parts:
        next_at = f"; next {_utc(part.next_at)}" if part.next_at is not None else ""
        yield f"{part.kind:<8}  {part.name}: {'on' if part.on else 'off'}{next_at}"
        if part.last is not None:
            yield f"          {_utc(part.last.at)}  {part.last.result}: {part.last.said}"


def _of_conditions(conditions: list[Followed]) -> Iterator[str]:
    for each in conditions:
        yield f"condition {each.asset}: {each.condition}"
        if each.evaluated_at is not None:
            yield f"          {_utc(each.evaluated_at)}  asked for {each.asked_for} partitions"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    raise TypeError(type(value).__name__)
