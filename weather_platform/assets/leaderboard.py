"""Stage models: the candidates of a test year beside each other, and beside the baselines, on the same rows.

Ranked by the target's primary metric on validation and reported on test with 95 % intervals; the first is the
challenger that `{target}/promotion` judges. Baselines stand below without a rank. Costs are those of the training run:
seconds of fitting, rows forecast per second on test, and the peak memory of the process while it trained. Kept in the
application database, one board per target and year; the newest year shows the course of all of them.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from weather_platform.assets.catalogue import described, shared
from weather_platform.assets.splits import REASON, unsplit_reason
from weather_platform.database import Database
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.leaderboard import Entry, leaderboard
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import PartitionMissingError
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import TablePartitions
from weather_platform.lake.provenance import lake_source, made_from
from weather_platform.plots import leaderboard_png, markdown_image
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import ModelReference
from weather_platform.skill_plots import skill_by_year_png


def leaderboard_asset(target: ForecastTarget, years: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    """The `{target}/leaderboard` asset."""
    candidates = [name for name, algorithm in ALGORITHMS.items() if target.task in algorithm.tasks]

    @dg.asset(
        key=[target.name, "leaderboard"],
        **shared("models", "sqlalchemy"),
        partitions_def=years,
        ins={
            "split": dg.AssetIn(key=[target.name, "split"]),
            **{name: dg.AssetIn(key=[target.name, name]) for name in candidates},
        },
        tags={"target": target.name},
        description=described(f"Candidates and baselines of a test year.\n\n{__doc__}", target),
    )
    @metered
    def board(
        context: dg.AssetExecutionContext,
        database: dg.ResourceParam[Database],
        lake: LakeResource,
        split: TablePartitions,
        **references: Mapping[str, ModelReference],
    ) -> None:
        run_id = context.run.run_id
        made_at = run_created_at(context.instance, run_id)
        for year in context.partition_keys:
            reason = unsplit_reason(split, year)
            models = [] if reason else _of_year(target, year, references)
            entries = () if reason else leaderboard(target, year, models)
            database.replace_leaderboard(target.name, int(year), entries, dagster_run_id=run_id, made_at=made_at)
            told = {REASON: reason} if reason else _told(target, year, entries, models)
            context.add_asset_metadata(told, partition_key=year)
        boards = database.leaderboards(target.name)
        if len(boards) > 1:
            png = skill_by_year_png(target, boards, made_from(lake_source(lake.lake())))
            picture = markdown_image("skill by year", png)
            context.add_asset_metadata(
                {"skill_by_year": dg.MetadataValue.md(picture)}, partition_key=context.partition_keys[-1]
            )

    return board


def _of_year(
    target: ForecastTarget, year: str, references: Mapping[str, Mapping[str, ModelReference]]
) -> list[ModelReference]:
    """The candidates of one year, all of them."""
    if missing := [name for name, models in references.items() if year not in models]:
        raise PartitionMissingError(
            f"{target.name} has no model of {', '.join(missing)} for {year}; materialise it, there is no partial board"
        )
    return [models[year] for models in references.values()]


def _told(
    target: ForecastTarget, year: str, entries: Sequence[Entry], models: Sequence[ModelReference]
) -> dict[str, dg.MetadataValue]:
    source = ", ".join(sorted({model.source for model in models}))
    png = leaderboard_png(entries, f"{target.title}, test {year}{made_from(source)}")
    return {
        "source": dg.MetadataValue.text(source),
        "challenger": dg.MetadataValue.text(entries[0].name),
        "value": dg.MetadataValue.float(entries[0].test),
        "leaderboard": dg.MetadataValue.md(shown(entries)),
        "plot": dg.MetadataValue.md(markdown_image("leaderboard", png)),
    }


def shown(entries: Sequence[Entry]) -> str:
    """The board as people read it: a table of Markdown."""
    metric = entries[0].metric
    lines = [
        f"| # | model | validation {metric} | test {metric} | 95 % interval | fit, s | rows/s | peak, MiB |",
        "|---:|---|---:|---:|---|---:|---:|---:|",
    ]
    for entry in entries:
        cells = (
            "" if entry.rank is None else str(entry.rank),
            entry.name if entry.rank is not None else f"{entry.name} (baseline)",
            _number(entry.validation, ".4f"),
            f"{entry.test:.4f}",
            "" if entry.test_low is None else f"{entry.test_low:.4f} to {entry.test_high:.4f}",
            _number(entry.train_seconds, ".2f"),
            _number(entry.predict_rows_per_second, ",.0f"),
            _number(entry.peak_memory_mb, ",.0f"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"Ranked by validation, reported on {entries[0].test_rows:,} test rows."])


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
