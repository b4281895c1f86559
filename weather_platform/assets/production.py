"""Stage production: the recorded decision about each year's challenger, and the alias that serves.

`{target}/promotion` registers the challenger that the leaderboard of the year names, measures it against the champion
on the fresh and on the standing exam, and appends DEPLOY, SKIP or REJECT with its reasons to the audit table. It moves
nothing. In a range it goes through the years in ascending order, each against the champion that the decisions before
it leave. `{target}/production` moves the `Production` alias to the newest DEPLOY by compare-and-swap, last of all. Then
the canary: the model as it is loaded through the alias must give, bit for bit, the predictions recorded for its golden
sample. If it does not, the alias goes back to the version before, the audit says why and the asset fails; every
materialisation tries it again, so that a process killed in between leaves nothing untried.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import dagster as dg
import pyarrow.compute as pc

from weather_platform.assets.catalogue import described, shared
from weather_platform.assets.model_cards import write_card
from weather_platform.assets.splits import REASON, unsplit_reason, up_to_the_year
from weather_platform.database import AliasChange, Database, PromotionRecord
from weather_platform.domain.algorithms import BASELINES
from weather_platform.domain.alias_moves import ROLLBACK, due_move, settled_through, taken_back, unfinished_rollback
from weather_platform.domain.exams import gather_evidence, standing_exam_days
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.promotion import Contender, Decision, Gates, Verdict, decide
from weather_platform.domain.splits import Split, split_from_manifest
from weather_platform.domain.targets import ForecastTarget
from weather_platform.domain.training import Predictor
from weather_platform.errors import (
    DigestMismatchError,
    InvariantError,
    PartitionMissingError,
    RegistryError,
    RegistryUnreachableError,
)
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import CoveredPartitions, TablePartitions
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import (
    PREVIOUS,
    PRODUCTION,
    Audit,
    ModelReference,
    ModelRegistry,
    RegisteredModel,
    champion_of,
)
from weather_platform.resources.retraining import carried_out, record_failure
from weather_platform.resources.rollback import keep_or_back_out, keep_or_put_back
from weather_platform.settings import Settings


def promotion_asset(
    target: ForecastTarget, settings: Settings, years: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    """The `{target}/promotion` asset."""

    @dg.asset(
        key=[target.name, "promotion"],
        **shared("production", "sqlalchemy"),
        partitions_def=years,
        ins={
            "split": dg.AssetIn(key=[target.name, "split"]),
            "features": dg.AssetIn(partition_mapping=up_to_the_year(years)),
        },
        deps=[dg.AssetKey([target.name, "leaderboard"])],
        tags={"target": target.name},
        description=described(
            f"The decision DEPLOY, SKIP or REJECT about the challenger of a test year.\n\n{__doc__}", target
        ),
    )
    @metered
    def promotion(
        context: dg.AssetExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
        split: TablePartitions,
        features: CoveredPartitions,
    ) -> None:
        decided_at = run_created_at(context.instance, context.run.run_id)
        moves = database.alias_changes(target.name, PRODUCTION)
        champion = champion_of(registry, target.name, moves)
        for year in context.partition_keys:
            if reason := unsplit_reason(split, year):
                context.add_asset_metadata({REASON: reason}, partition_key=year)
                record_failure(context.instance, context.run, f"{year}: {reason}", database)
                continue
            best = _challenger(registry, database, target, year)
            plan = split_from_manifest(split[year])
            challenger = registry.register(best)
            card = write_card(registry, lake.lake(), target, plan, features.up_to(year), challenger)
            context.add_asset_metadata({"model_card": dg.MetadataValue.md(card)}, partition_key=year)
            decision = _examine(
                target, settings, registry, plan, features.up_to(year), best, challenger, champion, taken_back(moves)
            )
            record = database.record_decision(
                _record(target, plan, best, challenger, champion, decision, context.run.run_id, decided_at),
                retraining_decision=carried_out(context.run.tags),
            )
            context.add_asset_metadata(_told(record, decision), partition_key=year)
            context.log.info(f"{year}: {decision.verdict} version {challenger.version}: {decision.reasons[0]}")
            if decision.verdict is Verdict.DEPLOY:
                champion = challenger

    return promotion


def production_asset(target: ForecastTarget) -> dg.AssetsDefinition:
    """The `{target}/production` asset. Its data version is the digest of the model that serves."""
    promotion_key = dg.AssetKey([target.name, "promotion"])

    @dg.asset(
        key=[target.name, "production"],
        **shared("production", "mlflow"),
        deps=[dg.AssetDep(promotion_key, partition_mapping=dg.AllPartitionMapping())],
        tags={"target": target.name},
        description=described(f"The `Production` alias of {target.name}.\n\n{__doc__}", target),
    )
    @metered
    def production(
        context: dg.AssetExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
    ) -> dg.MaterializeResult[None]:
        audit = Audit(
            decision_id=None,
            reason=f"{ROLLBACK} of a process that was killed before it recorded why",
            dagster_run_id=context.run.run_id,
            changed_at=run_created_at(context.instance, context.run.run_id),
        )
        if by_hand := keep_or_put_back(registry, database, target.name, audit):
            # Logged at once: the run may yet fail by a decision that rests on another version.
            context.log_event(dg.AssetObservation(context.asset_key, description=by_hand))
            context.log.warning(by_hand)
        moved = _follow_decisions(registry, database, target, audit)
        current = champion_of(registry, target.name, database.alias_changes(target.name, PRODUCTION))
        if current is None:
            raise RegistryError(
                f"{target.name} has no Production model ({_why_none(database, target)}); train another year or source"
            )
        canary = keep_or_back_out(registry, database, current, audit)
        return dg.MaterializeResult(
            metadata=current.facts | {"moved": moved, "canary_rows": canary.rows},
            data_version=dg.DataVersion(current.digest),
        )

    return production


def _follow_decisions(registry: ModelRegistry, database: Database, target: ForecastTarget, audit: Audit) -> bool:
    """Move Production to the newest DEPLOY that is not settled, and record what a killed process left unrecorded."""
    present = registry.aliases(target.name)
    production = present.get(PRODUCTION)
    moves = database.alias_changes(target.name, PRODUCTION)
    due = due_move(database.decisions(target.name), settled=settled_through(moves), production=production)
    if due is not None and due.challenger_version is not None:
        following = replace(audit, decision_id=due.id, reason=due.reasons[0])
        return registry.move_production(target.name, due.challenger_version, production, following).moved
    if production and unfinished_rollback(moves, production=production, previous=present.get(PREVIOUS)):
        registry.move_production(target.name, production, production, audit)
    return False


def _why_none(database: Database, target: ForecastTarget) -> str:
    moves = database.alias_changes(target.name, PRODUCTION)
    if moves and moves[-1].to_version is None:
        return moves[-1].reason
    latest = database.latest_decision(target.name)
    return f"{latest.decision}, {latest.reasons[0]}" if latest else "nothing was decided yet"


def _challenger(registry: ModelRegistry, database: Database, target: ForecastTarget, year: str) -> ModelReference:
    """The first of the leaderboard, as its run logged it; DigestMismatchError when that is another model now."""
    board = database.leaderboard(target.name, int(year))
    first = next((entry for entry in board if entry.rank == 1), None)
    if first is None or first.run_id is None:
        raise PartitionMissingError(f"{target.name}/leaderboard has no candidate for {year}; materialise it first")
    reference = registry.reference(first.run_id)
    if reference.digest != first.digest:
        raise DigestMismatchError(
            f"{reference.name} has SHA-256 {reference.digest[:12]}, and the leaderboard knows it by "
            f"{str(first.digest)[:12]}; materialise the leaderboard again"
        )
    return reference


def _examine(
    target: ForecastTarget,
    settings: Settings,
    registry: ModelRegistry,
    split: Split,
    features: TablePartitions,
    best: ModelReference,
    challenger: RegisteredModel,
    champion: RegisteredModel | None,
    left: Mapping[int, AliasChange],
) -> Decision:
    exam_days = standing_exam_days(split.train.first, split.test.last)
    asked = pc.field("day").isin(exam_days) | (
        (pc.field("day") >= split.test.first) & (pc.field("day") <= split.test.last)
    )
    table = features.select(training_columns(target)).where(asked).table()
    servable, unfit = _servable(registry, champion)
    evidence = gather_evidence(
        target,
        split,
        training_data(table.to_batches(), table.num_rows, target),
        (_contender(challenger), registry.ready(challenger)),
        (_contender(champion), servable) if champion and servable else None,
        test=best.metric(f"test_{target.primary_metric}"),
        baselines={
            name: best.metric(f"{name}_{target.primary_metric}")
            for name, baseline in BASELINES.items()
            if target.task in baseline.tasks
        },
        seed=settings.seed,
    )
    known = replace(
        evidence,
        champion=_contender(champion) if champion else None,
        champion_unfit=unfit,
        taken_back=f"on {move.changed_at:%Y-%m-%d} ({move.reason})" if (move := left.get(challenger.version)) else None,
    )
    return decide(known, Gates.of(target))


def _servable(registry: ModelRegistry, champion: RegisteredModel | None) -> tuple[Predictor | None, str | None]:
    """The champion ready to forecast, or why the code of today cannot ask it; neither without one.

    An outage and a file that is not the registered one raise: they say nothing of the champion.
    """
    if champion is None:
        return None, None
    try:
        return registry.ready(champion), None
    except (RegistryUnreachableError, DigestMismatchError):
        raise
    except (RegistryError, InvariantError) as error:
        return None, f"version {champion.version}: {error}"


def _contender(model: RegisteredModel) -> Contender:
    return Contender(str(model.version), model.digest, model.tuned_through, model.trained_through)


def _record(
    target: ForecastTarget,
    split: Split,
    best: ModelReference,
    challenger: RegisteredModel,
    champion: RegisteredModel | None,
    decision: Decision,
    dagster_run_id: str,
    decided_at: datetime,
) -> PromotionRecord:
    return PromotionRecord(
        target=target.name,
        year=split.year,
        decision=decision.verdict,
        reasons=decision.reasons,
        challenger_version=challenger.version,
        challenger_run_id=best.run_id,
        challenger_digest=challenger.digest,
        champion_version=champion.version if champion else None,
        champion_digest=champion.digest if champion else None,
        evidence=decision.to_dict(),
        dagster_run_id=dagster_run_id,
        decided_at=decided_at,
    )


def _told(record: PromotionRecord, decision: Decision) -> dict[str, dg.MetadataValue]:
    return {
        "decision": dg.MetadataValue.text(record.decision.value),
        "reasons": dg.MetadataValue.json(list(record.reasons)),
        "version": dg.MetadataValue.int(record.challenger_version or 0),
        "champion_version": dg.MetadataValue.text(str(record.champion_version or "none")),
        "sha256": dg.MetadataValue.text(record.challenger_digest),
        "evidence": dg.MetadataValue.json(decision.evidence.to_dict()),
    }
