"""Stage retraining: whether the target is to be trained again, decided after each month.

The month's matured skill and drift, how far the labelled rows have grown beyond those of the Production model, how old
its data are, what was tried before and what people asked: from these facts one pure function decides RETRAIN,
RECALIBRATE, WAIT, OK or UNKNOWN. The decision is appended to the database with everything that it looked at. It starts
nothing here: the sensors of this asset turn RETRAIN into one run of the job `learn` and RECALIBRATE into one of the job
`recalibrate`, and the promotion of that run writes down what came of it.

An outage of a store fails the month. A fact that is not there, such as a drift report that was not made, is UNKNOWN.
"""

from typing import Any

import dagster as dg
import pyarrow.compute as pc

from weather_platform.assets.catalogue import described, shared
from weather_platform.database import Database, DriftRecord, RetrainingOutcome, RetrainingRecord, RetrainingRequest
from weather_platform.domain.feature_table import label_column
from weather_platform.domain.retraining import (
    BIAS_LEAST_DAYS,
    BIAS_MONTHS,
    Action,
    Attempt,
    BiasMonth,
    DriftNotice,
    Facts,
    Rules,
    Wish,
    decide_retraining,
)
from weather_platform.domain.splits import near_standing_exam
from weather_platform.domain.targets import ForecastTarget
from weather_platform.io_managers.costs import metered
from weather_platform.lake import Lake
from weather_platform.partitions import days_of_month
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.moments import run_created_at
from weather_platform.resources.registry import PRODUCTION, ModelRegistry, RegisteredModel, champion_of
from weather_platform.settings import Settings

DECISION_ID = "decision_id"
"""Metadata of the materialisation: the id of the recorded decision."""
MODEL_ROWS = ("rows_train", "rows_validation", "rows_test")
"""Metrics of a model's run: the labelled rows that it was made from."""


def retraining_asset(
    target: ForecastTarget, settings: Settings, months: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    """The `{target}/retraining` asset."""
    same_month = dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)

    @dg.asset(
        key=[target.name, "retraining"],
        **shared("retraining", "sqlalchemy"),
        partitions_def=months,
        deps=[
            dg.AssetDep([target.name, "matured_skill"]),
            dg.AssetDep("drift_report"),
            dg.AssetDep("features", partition_mapping=same_month),
        ],
        tags={"target": target.name},
        description=described(f"Whether {target.name} is to be trained again.\n\n{__doc__}", target),
    )
    @metered
    def retraining(
        context: dg.AssetExecutionContext,
        registry: dg.ResourceParam[ModelRegistry],
        database: dg.ResourceParam[Database],
        lake: LakeResource,
    ) -> None:
        decided_at = run_created_at(context.instance, context.run.run_id)
        for month in context.partition_keys:
            facts = facts_of(target, month, registry, database, lake.lake())
            decision = decide_retraining(facts, rules_of(settings))
            record = database.record_retraining_decision(
                RetrainingRecord(
                    target=target.name,
                    month=month,
                    decision=decision.action,
                    reasons=decision.reasons,
                    notices=decision.notices,
                    inputs=facts.to_dict(),
                    dagster_run_id=context.run.run_id,
                    decided_at=decided_at,
                )
            )
            context.log.info(f"{month}: {decision.action}, {decision.reasons[0]}")
            context.add_asset_metadata(_told(record), partition_key=month)

    return retraining


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings give."""
    return Rules(
        row_growth=settings.retraining_row_growth,
        age_months=settings.retraining_age_months,
        look_months=tuple(map(int, settings.retraining_look_months.split(","))),
        cooldown_months=settings.retraining_cooldown_months,
        yearly_budget=settings.retraining_yearly_budget,
    )


def facts_of(target: ForecastTarget, month: str, registry: ModelRegistry, database: Database, lake: Lake) -> Facts:
    """Everything that the decision on a month looks at. An outage raises; what is not there is None."""
    model = champion_of(registry, target.name, database.alias_changes(target.name, PRODUCTION))
    metrics = registry.recorded(model.run_id)[2] if model is not None else {}
    rows, version = labelled_rows(target, month, lake)
    decided = database.retraining(target.name)
    drift = database.drift([month]).get(month)
    return Facts(
        month=month,
        production_version=model.version if model else None,
        model_rows=sum(int(metrics[name]) for name in MODEL_ROWS) if set(MODEL_ROWS) <= set(metrics) else None,
        model_data_through=model.data_through if model else None,
        labelled_rows=rows,
        features_lake_version=version,
        bias=_bias_of(target, month, model, database) if model else None,
        drift=DriftNotice(drift.verdict.status, drift.verdict.reasons) if drift else None,
        departures=_departures_of(drift),
        attempts=tuple(_attempt(*each) for each in decided if _was_tried(*each, month)),
        last_month=max((record.month for record, _ in decided if record.request_id is None), default=None),
        wish=_wish(database.retraining_requests(target.name)),
    )


def labelled_rows(target: ForecastTarget, month: str, lake: Lake) -> tuple[int | None, int | None]:
    """Labelled rows outside of the standing exam up to the end of a month, and the version of the table; None, None
    without any. Read a year at a time."""
    if not lake.exists("features"):
        return None, None
    features, label = lake.snapshot("features"), label_column(target.name)
    _, last_day = days_of_month(month)
    count = 0
    for year, stored in features.row_counts().items():
        if not stored or year > month[:4]:
            continue
        known = features.read(
            keys=[year], columns=["day", label], where=(pc.field("day") <= last_day) & pc.field(label).is_valid()
        )
        days = known["day"].cast("int32").to_numpy()
        count += int((~near_standing_exam(days)).sum())
    return (count, features.version) if count else (None, None)


def _bias_of(
    target: ForecastTarget, month: str, model: RegisteredModel, database: Database
) -> tuple[BiasMonth, ...] | None:
    """The live bias of the model in the month and in those right before it; None when this month's is not known."""
    first_day, _ = days_of_month(month)
    if model.tested_through >= first_day:
        return ()
    first_month = f"{first_day.year - 1}{month[4:]}"  # a year back: more than any rule looks at
    rows = database.matured_skill(target.name, first_month, month).bias.filter(
        (pc.field("model_version") == model.version) & (pc.field("kind") == "live") & (pc.field("scope") == "all")
    )
    enough = rows.filter((pc.field("days") >= BIAS_LEAST_DAYS) & pc.field("low").is_valid())
    found = [BiasMonth(**row) for row in enough.select(["month", "bias", "low", "high", "days", "rows"]).to_pylist()]
    return tuple(found[-BIAS_MONTHS:]) if found and found[-1].month == month else None


def _departures_of(record: DriftRecord | None) -> DriftNotice | None:
    known = record.departures if record else None
    return DriftNotice(known.status, known.reasons) if known else None


def _was_tried(record: RetrainingRecord, outcomes: list[RetrainingOutcome], month: str) -> bool:
    """Whether a decision is an attempt. A request of an earlier month without an outcome is none: its command was
    killed before the run began, and nothing else starts it."""
    if record.request_id is not None and not outcomes and record.month < month:
        return False
    return record.decision in (Action.RETRAIN, Action.RECALIBRATE)


def _attempt(record: RetrainingRecord, outcomes: list[RetrainingOutcome]) -> Attempt:
    rows, version = (record.inputs.get(name) for name in ("labelled_rows", "features_lake_version"))
    return Attempt(
        record.month,
        record.decision,
        outcomes[-1].outcome if outcomes else None,
        rows if isinstance(rows, int) else None,
        version if isinstance(version, int) else None,
    )


def _wish(requests: list[RetrainingRequest]) -> Wish | None:
    """The newest word of a person, if it is a veto: a request to train carries its own decision."""
    newest = requests[-1] if requests else None
    return Wish(newest.who, newest.why, newest.until) if newest is not None and newest.until is not None else None


def _told(record: RetrainingRecord) -> dict[str, Any]:
    return {
        "decision": record.decision.value,
        "reasons": dg.MetadataValue.json(list(record.reasons)),
        "notices": dg.MetadataValue.json(list(record.notices)),
        "inputs": dg.MetadataValue.json(dict(record.inputs)),
        DECISION_ID: record.id,
    }
