"""Stage production: the recorded decision about each year's challenger, and the alias that serves.

`{target}/promotion` registers the best candidate of the year (by validation), measures it against the champion on the
fresh and on the standing exam, and appends DEPLOY, SKIP or REJECT with its reasons to the audit table. It moves
nothing. In a range it goes through the years in ascending order, each against the champion that the decisions before
it leave. `{target}/production` moves the `Production` alias to the newest DEPLOY by compare-and-swap, last of all.
"""

from collections.abc import Mapping
from datetime import datetime

import dagster as dg
import pyarrow.compute as pc

from weather_platform.assets.catalogue import described, shared
from weather_platform.assets.model_cards import write_card
from weather_platform.assets.splits import REASON, unsplit_reason, up_to_the_year
from weather_platform.database import Database, PromotionRecord
from weather_platform.domain.algorithms import ALGORITHMS, BASELINES
from weather_platform.domain.alias_moves import due_move
from weather_platform.domain.exams import gather_evidence, standing_exam_days
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.features import FEATURE_VERSION, feature_names
from weather_platform.domain.promotion import Contender, Decision, Gates, Verdict, decide
from weather_platform.domain.splits import Split, split_from_manifest
from weather_platform.domain.targets import ForecastTarget
from weather_platform.domain.training import Predictor
from weather_platform.errors import RegistryError
from weather_platform.io_managers.costs import metered
from weather_platform.lake.partitions import TablePartitions
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import (
    PRODUCTION,
    Audit,
    ModelReference,
    ModelRegistry,
    RegisteredModel,
)
from weather_platform.settings import Settings


def promotion_asset(
    target: ForecastTarget, settings: Settings, years: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    """The `{target}/promotion` asset."""
    candidates = [name for name, algorithm in ALGORITHMS.items() if target.task in algorithm.tasks]

    @dg.asset(
        key=[target.name, "promotion"],
        **shared("production", "sqlalchemy"),
        partitions_def=years,
        ins={
            "split": dg.AssetIn(key=[target.name, "split"]),
            "features": dg.AssetIn(partition_mapping=up_to_the_year()),
            **{name: dg.AssetIn(key=[target.name, name]) for name in candidates},
        },
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
        features: TablePartitions,
        **references: Mapping[str, ModelReference],
    ) -> None:
        decided_at = run_created_at(context.instance, context.run.run_id)
        champion = registry.alias(target.name, PRODUCTION)
        for year in context.partition_keys:
            if reason := unsplit_reason(split, year):
                context.add_asset_metadata({REASON: reason}, partition_key=year)
                continue
            best = _challenger(target, [models[year] for models in references.values()])
            plan = split_from_manifest(split[year])
            challenger = registry.register(best)
            card = write_card(registry, lake.lake(), target, plan, features.up_to(year), challenger)
            context.add_asset_metadata({"model_card": dg.MetadataValue.md(card)}, partition_key=year)
            decision = _examine(target, settings, registry, plan, features.up_to(year), best, challenger, champion)
            record = database.record_decision(
                _record(target, plan, best, challenger, champion, decision, context.run.run_id, decided_at)
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
        current = registry.alias(target.name, PRODUCTION)
        move = due_move(
            database.decisions(target.name),
            carried_out={change.decision_id for change in database.alias_changes(target.name, PRODUCTION)},
            production=current.version if current else None,
        )
        if move is not None and move.challenger_version is not None:
            audit = Audit(
                decision_id=move.id,
                reason=move.reasons[0],
                dagster_run_id=context.run.run_id,
                changed_at=run_created_at(context.instance, context.run.run_id),
            )
            expected = current.version if current else None
            current = registry.move_production(target.name, move.challenger_version, expected, audit).production
        if current is None:
            latest = database.latest_decision(target.name)
            why = f"{latest.decision}, {latest.reasons[0]}" if latest else "nothing was decided yet"
            raise RegistryError(f"{target.name} has no Production model ({why}); train another year or source")
        registry.load(current).require_features(FEATURE_VERSION, feature_names())
        return dg.MaterializeResult(
            metadata={
                "version": current.version,
                "moved": move is not None,
                "sha256": current.digest,
                "mlflow_run_id": current.run_id,
                "tuned_through": current.tuned_through.isoformat(),
            },
            data_version=dg.DataVersion(current.digest),
        )

    return production


def _challenger(target: ForecastTarget, references: list[ModelReference]) -> ModelReference:
    """The best candidate by validation, never by test; the registry's order breaks ties."""
    return max(references, key=lambda reference: reference.metric(f"validation_{target.primary_metric}"))


def _examine(
    target: ForecastTarget,
    settings: Settings,
    registry: ModelRegistry,
    split: Split,
    features: TablePartitions,
    best: ModelReference,
    challenger: RegisteredModel,
    champion: RegisteredModel | None,
) -> Decision:
    exam_days = standing_exam_days(split.train.first, split.test.last)
    asked = pc.field("day").isin(exam_days) | (
        (pc.field("day") >= split.test.first) & (pc.field("day") <= split.test.last)
    )
    table = features.select(training_columns(target)).where(asked).table()
    evidence = gather_evidence(
        target,
        split,
        training_data([table], table.num_rows, target),
        (_contender(challenger), _ready(registry, challenger)),
        (_contender(champion), _ready(registry, champion)) if champion else None,
        test=best.metric(f"test_{target.primary_metric}"),
        baselines={
            name: best.metric(f"{name}_{target.primary_metric}")
            for name, baseline in BASELINES.items()
            if target.task in baseline.tasks
        },
        seed=settings.seed,
    )
    return decide(evidence, Gates.of(target))


def _ready(registry: ModelRegistry, model: RegisteredModel) -> Predictor:
    predictor = registry.load(model)
    predictor.require_features(FEATURE_VERSION, feature_names())
    return predictor


def _contender(model: RegisteredModel) -> Contender:
    return Contender(str(model.version), model.digest, model.tuned_through)


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
