"""`weather stations mask`, `unmask` and `masks`: a broken sensor counts as missing until it is repaired.

What belongs here: what may be asked for, the record, and what is printed. What does not: what a mask covers
(``domain.masks``). Dagster is told which years are to be made again, so that `weather update` and the automation do it.
"""

import getpass
import os
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from difflib import get_close_matches

import typer

from weather_platform.cli.reading import no_home, require_home
from weather_platform.domain.masks import MASKABLE, MaskEvent, StationMask, in_force
from weather_platform.domain.stations import stations_of
from weather_platform.errors import MaskRefusedError
from weather_platform.lake import Lake
from weather_platform.lake.masks import MASKS_TABLE, RecordedMask, append_mask, recorded_masks
from weather_platform.lake.provenance import STATIONS_TABLE
from weather_platform.settings import Settings
from weather_platform.stores import application_database, open_lake

_LOCK = "station masks"
REMEDY = "`weather update` makes features and forecasts again; `weather ui --automation` does it by itself"


def mask(settings: Settings, asked: StationMask, why: str) -> list[str]:
    """Record a mask; the lines to print. MaskRefusedError for names that are not known and one that is there."""
    require_home(settings)
    lake = open_lake(settings)
    _verify(lake, asked)
    years = _change(settings, lake, MaskEvent(asked, masked=True), why)
    undo = f"`{_command('unmask', asked)} --why ...` undoes it"
    return [f"masked {asked}: it counts as missing{_in(years)}", undo, REMEDY]


def unmask(settings: Settings, asked: StationMask, why: str) -> list[str]:
    """Record that a mask ends; the lines to print. MaskRefusedError when there is no such mask."""
    require_home(settings)
    years = _change(settings, open_lake(settings), MaskEvent(asked, masked=False), why)
    return [f"unmasked {asked}: it counts again{_in(years)}", REMEDY]


def show_masks(settings: Settings, *, every: bool) -> None:
    """One line a mask in force, or with `every` one line an event of the record."""
    events, _ = recorded_masks(open_lake(settings)) if no_home(settings) is None else ([], None)
    held = in_force(each.event for each in events)
    newest = {each.event.mask: each for each in events}
    shown = events if every else [newest[each] for each in held]
    if not shown:
        typer.echo("no column is masked")
    for each in shown:
        what = "" if not every else "masked " if each.event.masked else "unmasked "
        typer.echo(f"{what}{each.event.mask}: {each.why} ({each.who}, {each.at:%Y-%m-%d %H:%M} UTC)")


def _change(settings: Settings, lake: Lake, event: MaskEvent, why: str) -> list[str]:
    """Append the event and report the years that it touches to Dagster; those years."""
    import dagster as dg

    from weather_platform.cli.home import open_instance

    with closing(application_database(settings)) as database:
        database.migrate()
        with database.locked(_LOCK):
            events, version = recorded_masks(lake)
            held = in_force(each.event for each in events)
            known = event.masked == (event.mask in held)
            if not known:
                version = append_mask(lake, RecordedMask(event, why, _who(), datetime.now(UTC)))
    years = _years(lake, event.mask)
    with open_instance(settings) as instance:
        # Also when it is known: a command that was killed after the record may not have come here.
        for year in years if version is not None else ():
            facts = {"lake_version": version, "rows": len(events) + (not known)}
            instance.report_runless_asset_event(
                dg.AssetMaterialization(MASKS_TABLE, partition=year, metadata=facts, description=str(event.mask))
            )
    if known:
        said = "is masked already" if event.masked else f"is not masked; masked are: {_named(held)}"
        raise MaskRefusedError(f"{event.mask} {said}; nothing was recorded")
    return years


def _years(lake: Lake, asked: StationMask) -> list[str]:
    """The stored years of features that look at the masked days: a year looks back into the one before it."""
    last = "9999" if asked.last_day is None else str(asked.last_day.year + 1)
    stored = lake.row_counts("features", "year") if lake.exists("features") else {}
    return [year for year, rows in stored.items() if rows and str(asked.first_day.year) <= year <= last]


def _verify(lake: Lake, asked: StationMask) -> None:
    known = [each.id for each in stations_of(lake.read(STATIONS_TABLE))] if lake.exists(STATIONS_TABLE) else []
    for what, name, names in (("station", asked.station, known), ("column", asked.column, MASKABLE)):
        if name not in names:
            near = get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; `weather stations` lists them ({len(names)})"
            if what == "column":
                hint = f"; did you mean {near[0]}?" if near else f"; there is {', '.join(names)}"
            raise MaskRefusedError(f"there is no {what} {name[:60]!r}{hint}")
    if asked.last_day is not None and asked.last_day < asked.first_day:
        raise MaskRefusedError(f"a mask from {asked.first_day} cannot end on {asked.last_day}; give a later --to")


def _command(name: str, asked: StationMask) -> str:
    end = f" --to {asked.last_day}" if asked.last_day else ""
    return f"weather stations {name} {asked.station} {asked.column} --from {asked.first_day}{end}"


def _in(years: Sequence[str]) -> str:
    if not years:
        return "; no stored year is touched"
    return f" in features of {years[0] if len(years) == 1 else f'{years[0]} to {years[-1]}'}"


def _named(masks: Sequence[StationMask]) -> str:
    return "; ".join(map(str, masks)) or "none"


def _who() -> str:
    """The account that runs the command; containers may have none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
