"""The calibration of the Production model fitted again: rows in, a new version and a recorded decision out.

What belongs here: where rows and files come from, the run and version that are made, and the move. What does not: the
fit and its exam (``domain.recalibration``, ``domain.exams``), the decision (``domain.promotion``), and who asks (the
job `recalibrate`).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow.compute as pc

from weather_platform.database import Database, PromotionRecord
from weather_platform.domain.canary import GOLDEN_FILE, golden_bytes
from weather_platform.domain.exams import recalibration_evidence, standing_exam_days
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.metrics import RESAMPLES
from weather_platform.domain.promotion import Contender, Gates, Verdict, decide
from weather_platform.domain.recalibration import Recalibrated, between, calibration_rows, recalibrated
from weather_platform.domain.splits import day_date
from weather_platform.domain.targets import TARGETS, ForecastTarget
from weather_platform.domain.training import CONTRACT_FILE, Predictor, TrainingData, sha256
from weather_platform.errors import RegistryError
from weather_platform.lake import Lake, Snapshot
from weather_platform.reports.card_page import card_page
from weather_platform.resources.mlflow_tracking import NESTED_TAG, MlflowRun
from weather_platform.resources.model_runs import log_version
from weather_platform.resources.registry import (
    BASE_TAG,
    BASE_TESTED_TAG,
    BASE_TUNED_TAG,
    CALIBRATED_TAGS,
    DIGEST_TAG,
    GOLDEN_TAG,
    PRODUCTION,
    REFERENCES_FILE,
    Audit,
    ModelRegistry,
    RegisteredModel,
    champion_of,
)
from weather_platform.resources.rollback import keep_or_back_out

_OF_THE_BASE = ("model_id", "model_uri", NESTED_TAG, "asset_key", "partition", "code_version")
"""Tags of the base version's run that are not those of a version made from it."""
_LEARNED = ("rows_train", "rows_validation", "rows_test", "trees")
"""Metrics of the base version that are of its model file."""


def recalibrate_production(
    target: ForecastTarget,
    through: date,
    registry: ModelRegistry,
    database: Database,
    lake: Lake,
    run: MlflowRun,
    audit: Audit,
    *,
    retraining_decision: int | None,
    seed: int,
) -> tuple[PromotionRecord, RegisteredModel]:
    """Fit the calibration of the Production model on the newest labelled days up to `through`; register and judge it.

    Production moves when the decision is DEPLOY. Gives the recorded decision and the version. RegistryError without a
    Production model, NotEnoughDataError when there are too few days since; nothing is registered then. The move carries
    the reason of the decision, not that of `audit`.
    """
    champion = champion_of(registry, target.name, database.alias_changes(target.name, PRODUCTION))
    if champion is None:
        raise RegistryError(f"{target.name} has no Production model to calibrate; `weather run` trains one")
    predictor = registry.ready(champion)
    features = lake.snapshot("features")
    rows = _rows(target, features, pc.field("day") > champion.tuned_through, through)
    chosen = rows.only(calibration_rows(rows, champion.tuned_through, champion.tested_through, through))
    made = recalibrated_from(registry, champion, predictor, chosen)
    version = _registered(target, registry, champion, made, features.version, run, audit, seed)
    exam_days = standing_exam_days(day_date(0), through)
    standing = _rows(target, features, pc.field("day").isin(exam_days), through)
    standing = standing.only(~np.isnan(standing.labels))
    evidence = recalibration_evidence(
        target, made, standing, _contender(version), (_contender(champion), predictor), seed=seed
    )
    decision = decide(evidence, Gates.of(target))
    record = database.record_decision(
        PromotionRecord(
            target=target.name,
            year=int(version.tags["year"]),
            decision=decision.verdict,
            reasons=decision.reasons,
            challenger_version=version.version,
            challenger_run_id=version.run_id,
            challenger_digest=version.digest,
            champion_version=champion.version,
            champion_digest=champion.digest,
            evidence=decision.to_dict(),
            dagster_run_id=audit.dagster_run_id,
            decided_at=audit.changed_at,
        ),
        retraining_decision=retraining_decision,
    )
    if decision.verdict is Verdict.DEPLOY:
        carried_out = replace(audit, decision_id=record.id, reason=record.reasons[0])
        registry.move_production(target.name, version.version, champion.version, carried_out)
        keep_or_back_out(registry, database, version, carried_out)
    return record, version


def recalibrated_from(
    registry: ModelRegistry, base: RegisteredModel, predictor: Predictor, rows: TrainingData
) -> Recalibrated:
    """The model of the base version with its calibration fitted on these rows."""
    _, model_bytes = registry.verified_files(base)
    golden = registry.golden(base, predictor.contract.feature_names)
    return recalibrated(predictor, model_bytes, golden, rows)


def recorded_rows(lake: Lake, model: RegisteredModel) -> TrainingData:
    """The rows that the calibration of a version was fitted on, as they were then."""
    first, last, version = (model.tags[name] for name in CALIBRATED_TAGS)
    target = TARGETS[model.target]
    features = lake.snapshot("features", int(version))
    days = date.fromisoformat(first), date.fromisoformat(last)
    rows = _rows(target, features, pc.field("day") >= days[0], days[1])
    return rows.only(between(rows, *days))


def _rows(target: ForecastTarget, features: Snapshot, which: pc.Expression, through: date) -> TrainingData:
    table = features.read(
        keys=[key for key in features.row_counts() if key <= str(through.year)],
        columns=list(training_columns(target)),
        where=which & (pc.field("day") <= through),
    )
    return training_data(table.to_batches(), table.num_rows, target)


def _registered(
    target: ForecastTarget,
    registry: ModelRegistry,
    base: RegisteredModel,
    made: Recalibrated,
    features_version: int,
    run: MlflowRun,
    audit: Audit,
    seed: int,
) -> RegisteredModel:
    """The version with this digest, made if there is none: of a run that holds its files, figures and recipe."""
    for version in registry.versions(target.name):
        if version.digest == made.predictor.digest:
            return version
    contract, model_bytes = made.predictor.contract, registry.verified_files(base)[1]
    golden = golden_bytes(made.golden, contract.feature_names)
    files = {CONTRACT_FILE: made.contract_bytes, contract.model_file: model_bytes, GOLDEN_FILE: golden}
    if base.origin is not None:  # its climatology came with it
        files[REFERENCES_FILE] = registry.verified_references(base)
    tags, params, metrics = registry.recorded(base.run_id)
    run_id = log_version(
        run,
        f"{target.name}/{contract.algorithm} {tags['year']} (calibrated again)",
        files,
        tags={name: text for name, text in tags.items() if name not in _OF_THE_BASE and not name.startswith("mlflow.")}
        | {
            DIGEST_TAG: made.predictor.digest,
            GOLDEN_TAG: sha256(golden),
            "tuned_through": contract.tuned_through,
            "tested_through": contract.tested_through,
            BASE_TAG: str(base.version),
            BASE_TUNED_TAG: base.trained_through.isoformat(),
            BASE_TESTED_TAG: base.data_through.isoformat(),
            **dict(zip(CALIBRATED_TAGS, (*map(str, made.days), str(features_version)), strict=True)),
        },
        params=params,
        metrics={name: metrics[name] for name in _LEARNED if name in metrics} | _measured(made, seed),
        dagster_run_id=audit.dagster_run_id,
        at=audit.changed_at,
    )
    model = registry.register(registry.reference(run_id))
    card = _card(target, model, base, made, registry.reference(run_id).metrics)
    registry.keep_card(model, card, card_page(card, {}), card)
    return model


def _measured(made: Recalibrated, seed: int) -> dict[str, float]:
    """The figures of the forecasts by blocks, under the names that a test has."""
    output, rows, said = made.predictor.contract.output, made.rows, made.examined
    measured = {f"test_{name}": value for name, value in output.metrics(rows.labels, said).items()}
    for name, interval in output.intervals(rows.labels, said, rows.day, seed=seed, resamples=RESAMPLES).items():
        measured |= {f"test_{name}_low": interval.low, f"test_{name}_high": interval.high}
    return measured | {"rows_calibration": float(len(rows))}


def _card(
    target: ForecastTarget,
    model: RegisteredModel,
    base: RegisteredModel,
    made: Recalibrated,
    metrics: Mapping[str, float],
) -> str:
    """What the version is and which figures are of what."""
    contract = made.predictor.contract
    rows = [
        f"| {name} | {metrics[f'test_{name}']:.4f} | {metrics[f'test_{name}_low']:.4f} to "
        f"{metrics[f'test_{name}_high']:.4f} |"
        for name in type(contract.output).METRICS
    ]
    return (
        f"# {target.title}: version {model.version}, calibrated again\n\n{target.description}\n\n"
        f"- the model file is that of version {base.version}, whose card says what it was made from and how good "
        f"it was; it learned from nothing after {model.trained_through}\n"
        f"- calibration: {contract.output.calibration_text()}, fitted on {len(made.rows):,} rows of {made.days[0]} to "
        f"{made.days[1]}, features at lake version {model.tags[CALIBRATED_TAGS[2]]}\n"
        f"- SHA-256 `{model.digest}`, {contract.algorithm}\n"
        f"- made again and compared by `weather reproduce {target.name} {model.version}`\n\n"
        "The figures are of the same days, cut into blocks: those of a block are forecast by a calibration of the "
        "other blocks. They are not comparable with the test figures of other versions, which are of other days.\n\n"
        "| metric | by blocks | interval |\n|---|---:|---|\n" + "\n".join(rows) + "\n"
    )


def _contender(model: RegisteredModel) -> Contender:
    return Contender(str(model.version), model.digest, model.tuned_through, model.trained_through)
