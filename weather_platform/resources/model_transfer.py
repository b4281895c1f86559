"""A registered version carried to another home: put into an archive there, registered and brought into Production here.

What belongs here: where the contents of an archive come from, the run and version that an import makes, and whether
Production may move to it. What does not: the archive and its checks (``domain.model_archive``), the file, and who asks
(`weather model`, the job `import_model`).

An import is a decision like any other: it is recorded with its reason, and Production moves by compare-and-swap, after
the canary. Only where nothing serves does it need no more; a model that serves gives way to an import only when
somebody says so, and why.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from weather_platform.database import Database, PromotionRecord
from weather_platform.domain.canary import GOLDEN_FILE
from weather_platform.domain.model_archive import REFERENCES_FILE, ModelArchive, PackedStation, packed
from weather_platform.domain.promotion import Verdict
from weather_platform.domain.stations import STATIONS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import CONTRACT_FILE, sha256
from weather_platform.errors import ImportRefusedError
from weather_platform.lake import Lake
from weather_platform.lake.provenance import SYNTHETIC
from weather_platform.reports.card_page import card_page
from weather_platform.resources.mlflow_tracking import MlflowRun
from weather_platform.resources.model_runs import log_version
from weather_platform.resources.references import references_of
from weather_platform.resources.registry import (
    DIGEST_TAG,
    FIRST_FIT_TAG,
    GOLDEN_TAG,
    ORIGIN_TAG,
    PRODUCTION,
    REFERENCES_TAG,
    SOURCE_TAG,
    Audit,
    ModelRegistry,
    RegisteredModel,
    champion_of,
)
from weather_platform.resources.rollback import require_servable

_CARRIED = ("library.", "code.", FIRST_FIT_TAG)
"""Tags of a run that an archive carries: what else is in them the contract says, or is of the other home."""


def archive_of(registry: ModelRegistry, database: Database, lake: Lake, model: RegisteredModel) -> bytes:
    """The archive of a registered version, with its files verified."""
    contract, data = registry.verified_files(model)
    tags, params, metrics = registry.recorded(model.run_id)
    reference = registry.reference(model.run_id)
    decisions = [
        record
        for record in database.decisions(model.target)
        if record.decision is Verdict.DEPLOY and record.challenger_version == model.version
    ]
    files = {
        CONTRACT_FILE: contract,
        json.loads(contract)["model_file"]: data,
        GOLDEN_FILE: registry.verified_golden(model),
        REFERENCES_FILE: references_of(TARGETS[model.target], registry, lake, model.version).to_bytes(),
    }
    manifest = {
        "target": model.target,
        "year": reference.year,
        "digest": model.digest,
        "source": reference.source,
        "origin": {
            "version": model.version,
            "mlflow_run_id": model.run_id,
            "registered_at": model.registered_at.isoformat(),
            "package": tags.get("code.package", "unknown"),
            "lake_versions": dict(reference.lake_versions),
        },
        "tags": {name: text for name, text in tags.items() if name.startswith(_CARRIED)},
        "params": params,
        "metrics": metrics,
        "decision": _plain(decisions[-1]) if decisions else None,
        "stations": [station.model_dump() for station in _stations(lake)],
    }
    return packed(manifest, files)


def _plain(record: PromotionRecord) -> dict[str, Any]:
    return {
        "decision": record.decision.value,
        "year": record.year,
        "reasons": list(record.reasons),
        "evidence": dict(record.evidence),
        "decided_at": record.decided_at.isoformat(),
    }


@dataclass(frozen=True)
class Imported:
    """What an import did."""

    model: RegisteredModel
    from_version: int | None
    warnings: tuple[str, ...]


def import_version(
    archive: ModelArchive,
    registry: ModelRegistry,
    database: Database,
    lake: Lake,
    run: MlflowRun,
    audit: Audit,
    *,
    replacing: bool,
) -> Imported:
    """Register the model of an archive and move Production to it. ImportRefusedError, and nothing is registered, when
    another model serves and `replacing` is not said, or when the version serves already.

    `audit.reason` is why, or empty. Calling it again after a crash completes what was begun.
    """
    target = archive.contract.target
    champion = champion_of(registry, target, database.alias_changes(target, PRODUCTION))
    if champion is not None and champion.digest == archive.manifest.digest:
        raise ImportRefusedError(
            f"{target}: version {champion.version} is this model, and it serves; nothing was changed"
        )
    if champion is not None and not replacing:
        raise ImportRefusedError(
            f"{target}: version {champion.version} serves, and an imported model has passed no exam against it; "
            "nothing was changed. To put it in its place: --replace --why REASON"
        )
    warnings = _warnings(archive, _stations(lake))
    model = _registered(archive, registry, run, audit)
    require_servable(registry, model)
    _decide(archive, registry, database, model, champion, audit)
    return Imported(model, champion.version if champion else None, warnings)


def _stations(lake: Lake) -> list[PackedStation]:
    """The catalogue of this home; that of the platform where nothing is stored yet."""
    names = list(PackedStation.model_fields)
    if lake.exists("stations"):
        return [PackedStation(**row) for row in lake.read("stations", columns=names).to_pylist()]
    return [PackedStation(**{name: getattr(station, name) for name in names}) for station in STATIONS]


def _warnings(archive: ModelArchive, stations: Sequence[PackedStation]) -> tuple[str, ...]:
    found = []
    if archive.manifest.source == SYNTHETIC:
        found.append("it was trained on synthetic weather: its forecasts say nothing about real weather")
    if unknown := archive.unknown_stations(stations):
        found.append(f"{len(unknown)} station(s) of this home were not in its training (first: {unknown[0]})")
    return tuple(found)


def _registered(archive: ModelArchive, registry: ModelRegistry, run: MlflowRun, audit: Audit) -> RegisteredModel:
    """The version with this digest, made if there is none: of a run that holds what the archive holds."""
    for version in registry.versions(archive.contract.target):
        if version.digest == archive.manifest.digest:
            return version
    model = registry.register(registry.reference(_logged(archive, run, audit)))
    card = _card(archive, model)
    registry.keep_card(model, card, card_page(card, {}), card)
    return model


def _logged(archive: ModelArchive, run: MlflowRun, audit: Audit) -> str:
    """A finished MLflow run with the files, figures and recipe of the archive; gives its id."""
    manifest, contract = archive.manifest, archive.contract
    return log_version(
        run,
        f"{contract.target}/{contract.algorithm} {manifest.year} (imported)",
        archive.files,
        tags=_tags(archive),
        params=manifest.params,
        metrics=manifest.metrics,
        dagster_run_id=audit.dagster_run_id,
        at=audit.changed_at,
    )


def _tags(archive: ModelArchive) -> dict[str, str]:
    """What `ModelRegistry.reference` reads. Of the model itself the contract speaks, not the manifest."""
    manifest, contract = archive.manifest, archive.contract
    return {
        **{name: text for name, text in manifest.tags.items() if name.startswith(_CARRIED)},
        SOURCE_TAG: manifest.source,
        "target": contract.target,
        "algorithm": contract.algorithm,
        "year": str(manifest.year),
        DIGEST_TAG: manifest.digest,
        "model_sha256": contract.model_sha256,
        GOLDEN_TAG: sha256(archive.files[GOLDEN_FILE]),
        REFERENCES_TAG: sha256(archive.files[REFERENCES_FILE]),
        **({} if contract.threshold is None else {"threshold": repr(contract.threshold)}),
        "feature_version": contract.feature_version,
        "tuned_through": contract.tuned_through,
        "tested_through": contract.tested_through,
        ORIGIN_TAG: _origin(archive),
        "archive_sha256": archive.sha256,
    }


def _origin(archive: ModelArchive) -> str:
    origin = archive.manifest.origin
    return f"version {origin.version} of another home, MLflow run {origin.mlflow_run_id} there"


def _decide(
    archive: ModelArchive,
    registry: ModelRegistry,
    database: Database,
    model: RegisteredModel,
    champion: RegisteredModel | None,
    audit: Audit,
) -> None:
    """Record the decision and carry it out. A decision that a killed process left is carried out, not made again."""
    against = champion.version if champion else None
    latest = database.latest_decision(model.target)
    if latest is None or (latest.decision, latest.challenger_version, latest.champion_version) != (
        Verdict.DEPLOY, model.version, against,
    ):  # fmt: skip
        place = f"in place of version {against}" if champion else "there is no champion"
        why = f": {audit.reason}" if audit.reason else ""
        evidence = {"imported": {"archive_sha256": archive.sha256, **archive.manifest.origin.model_dump()}}
        latest = database.record_decision(
            PromotionRecord(
                target=model.target,
                year=archive.manifest.year,
                decision=Verdict.DEPLOY,
                reasons=(f"import of {_origin(archive)}, {place}{why}",),
                challenger_version=model.version,
                challenger_run_id=model.run_id,
                challenger_digest=model.digest,
                champion_version=against,
                champion_digest=champion.digest if champion else None,
                evidence=evidence | {"decision": archive.manifest.decision},
                dagster_run_id=audit.dagster_run_id,
                decided_at=audit.changed_at,
            )
        )
    settled = replace(audit, decision_id=latest.id, reason=latest.reasons[0])
    registry.move_production(model.target, model.version, against, settled)


def _card(archive: ModelArchive, model: RegisteredModel) -> str:
    """The card of an imported version: its figures, and where the rest is."""
    target, contract, manifest = TARGETS[model.target], archive.contract, archive.manifest
    warning = (
        "> **Synthetic weather.** This model was trained and tested on generated rows. "
        "Its figures say nothing about real weather.\n\n"
        if manifest.source == SYNTHETIC
        else ""
    )
    rows = [f"| {name} | {manifest.metrics[f'test_{name}']:.4f} |" for name in type(contract.output).METRICS]
    return (
        f"# {target.title}: version {model.version}, imported\n\n{warning}{target.description}\n\n"
        f"- it was {_origin(archive)}, where its rows and its full card are\n"
        f"- SHA-256 `{model.digest}`, {contract.algorithm}, features of version {contract.feature_version}\n"
        f"- nothing after {contract.tuned_through} had a say in it; "
        f"tested up to {contract.tested_through}, on {manifest.source} rows\n\n| metric | test |\n|---|---:|\n"
        + "\n".join(rows)
        + "\n"
    )


def facts_of_import(imported: Imported) -> Mapping[str, str | int]:
    """What the materialisation of the alias says of it."""
    return imported.model.facts | {
        "imported_from": imported.model.origin or "",
        "from_version": imported.from_version or 0,
    }
