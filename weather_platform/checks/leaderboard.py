"""Checks of the leaderboard: validation gives its order, and its first candidate is worth more than no model."""

from collections.abc import Mapping, Sequence

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.checks.splits import unsplit_years
from weather_platform.database import Database
from weather_platform.domain.leaderboard import Entry, unbeaten_by_the_challenger, unranked
from weather_platform.domain.targets import ForecastTarget
from weather_platform.resources.lake import LakeResource

Boards = Mapping[str, Sequence[Entry]]
"""The stored boards by test year."""


def leaderboard_checks(target: ForecastTarget) -> list[dg.AssetChecksDefinition]:
    """All checks of a target's leaderboard."""
    key = dg.AssetKey([target.name, "leaderboard"])

    def boards(context: dg.AssetCheckExecutionContext, database: Database, lake: LakeResource) -> Boards:
        years = partitions_of_run(context, key)
        unsplit = unsplit_years(lake.lake(), f"{target.name}__split", years)  # there is nothing to rank in them
        return {year: database.leaderboard(target.name, int(year)) for year in years if year not in unsplit}

    @dg.asset_check(
        asset=key, name="ranked_by_validation", blocking=True,
        description="The stored ranks are those that the primary metric on validation gives; baselines have none.",
    )  # fmt: skip
    def ranked_by_validation(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database], lake: LakeResource
    ) -> dg.AssetCheckResult:
        stored = boards(context, database, lake)
        return report(misranked(stored), looked_at=len(stored))

    @dg.asset_check(
        asset=key, name="challenger_beats_the_baselines",
        description="The first candidate is better on test than persistence and climatology.",
    )  # fmt: skip
    def challenger_beats_the_baselines(
        context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database], lake: LakeResource
    ) -> dg.AssetCheckResult:
        stored = boards(context, database, lake)
        return report(
            beaten_challengers(stored), looked_at=len(stored), severity=WARN,
            meaning="The best candidate is no better than a simple rule, so the promotion rejects it. Train on more "
            "years, or look at the features of the newest one.",
        )  # fmt: skip

    return [ranked_by_validation, challenger_beats_the_baselines]


def misranked(boards: Boards) -> Findings:
    """Years whose stored order is not that of validation: what is wrong with it."""
    return {year: said for year, entries in boards.items() if (said := unranked(entries))}


def beaten_challengers(boards: Boards) -> Findings:
    """Years in which a baseline is as good on test as the challenger: which, and by how much."""
    ranked = {year: entries for year, entries in boards.items() if any(entry.rank == 1 for entry in entries)}
    found = {year: unbeaten_by_the_challenger(entries) for year, entries in ranked.items()}
    missing = {year: "there is no challenger" for year in boards if year not in ranked}
    return missing | {year: "; ".join(said) for year, said in found.items() if said}
