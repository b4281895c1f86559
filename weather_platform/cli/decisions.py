"""What `weather decisions` prints: what was decided about the models of a target, in time order, with the reasons.

Promotions, imports, moves of the Production alias (rollbacks too), decisions to retrain with what came of them, and
what people asked. Read from the application database alone.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import typer
from rich.console import Console

from weather_platform.cli.reading import reading_database
from weather_platform.database import Database
from weather_platform.domain.targets import TARGETS
from weather_platform.settings import Settings

PRODUCTION = "Production"
IMPORTED = "imported"
"""The key of a promotion's evidence that an imported version has and a trained one lacks."""


def show_decisions(settings: Settings, targets: list[str], *, as_json: bool) -> None:
    """Every decision on these targets, or on all, the oldest first; as lines, or as a JSON list of records."""
    with reading_database(settings) as database:
        found = sorted((each for name in targets or TARGETS for each in decisions_of(database, name)), key=_moment)
    if as_json:
        typer.echo(json.dumps([{**each, "at": each["at"].isoformat()} for each in found], indent=2))
        return
    console = Console(highlight=False)
    if not found:
        console.print("nothing was decided yet; `weather run` trains, and the first promotion is the first decision")
    for each in found:
        line = f"{each['at']:%Y-%m-%d %H:%M} UTC  {each['target']}  {each['kind']}: {each['what']}"
        console.print(line, soft_wrap=True, markup=False)
        for reason in each["reasons"]:
            console.print(f"    {reason}", soft_wrap=True, markup=False)


def decisions_of(database: Database, target: str) -> Iterator[dict[str, Any]]:
    """Every decision on a target, each kind in time order."""
    for decision in database.decisions(target):
        kind = "import" if IMPORTED in decision.evidence else "promotion"
        against = "no champion" if decision.champion_version is None else f"version {decision.champion_version}"
        what = f"{decision.decision} version {decision.challenger_version} against {against}"
        yield _entry(target, kind, what, decision.reasons, decision.decided_at, decision.dagster_run_id)
    for move in database.alias_changes(target, PRODUCTION):
        where = "nowhere" if move.to_version is None else f"version {move.to_version}"
        what = f"{PRODUCTION} went from {f'version {move.from_version}' if move.from_version else 'nowhere'} to {where}"
        yield _entry(target, "alias", what, (move.reason,), move.changed_at, move.dagster_run_id)
    for request in database.retraining_requests(target):
        what = f"by {request.who}" if request.until is None else f"until {request.until} by {request.who}"
        yield _entry(target, "veto" if request.until else "request", what, (request.why,), request.at, None)
    for record, outcomes in database.retraining(target):
        came = [
            f"{each.outcome}{f' version {each.version}' if each.version else ''} on {each.at:%Y-%m-%d %H:%M} UTC: "
            f"{each.reason}"
            for each in outcomes
        ]
        reasons = (*record.reasons, *record.notices, *(f"outcome: {each}" for each in came))
        what = f"{record.decision} after {record.month}"
        yield _entry(target, "retraining", what, reasons, record.decided_at, record.dagster_run_id) | {
            "decision_id": record.id
        }


def _entry(
    target: str, kind: str, what: str, reasons: tuple[str, ...], at: datetime, dagster_run_id: str | None
) -> dict[str, Any]:
    entry = {"at": at, "target": target, "kind": kind, "what": what, "reasons": list(reasons)}
    return entry | {"dagster_run_id": dagster_run_id}


def _moment(entry: dict[str, Any]) -> datetime:
    at: datetime = entry["at"]
    return at
