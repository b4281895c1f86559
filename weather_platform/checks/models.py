"""Checks of stage models: the stored files are the digested ones, and the model is worth more than no model."""

from collections.abc import Mapping

import dagster as dg

from weather_platform.checks.reporting import WARN, Findings, partitions_of_run, report
from weather_platform.domain.algorithms import BASELINES, Algorithm
from weather_platform.domain.targets import ForecastTarget
from weather_platform.errors import DigestMismatchError
from weather_platform.io_managers.mlflow_models import logged_run_id
from weather_platform.resources.registry import ModelReference, ModelRegistry


def model_checks(target: ForecastTarget, algorithm: Algorithm) -> list[dg.AssetChecksDefinition]:
    """All checks of one candidate."""
    key = dg.AssetKey([target.name, algorithm.name])

    def candidates(context: dg.AssetCheckExecutionContext, registry: ModelRegistry) -> dict[str, ModelReference]:
        runs = {year: logged_run_id(context.instance, key, year) for year in partitions_of_run(context, key)}
        return {year: registry.reference(run_id) for year, run_id in runs.items() if run_id is not None}

    @dg.asset_check(
        asset=key, name="digest_verifies", blocking=True,
        description="The model as it lies in the store is the one that was measured: its SHA-256 agrees.",
    )  # fmt: skip
    def digest_verifies(
        context: dg.AssetCheckExecutionContext, registry: dg.ResourceParam[ModelRegistry]
    ) -> dg.AssetCheckResult:
        made = candidates(context, registry)
        return report(altered_models(registry, made), looked_at=len(made))

    @dg.asset_check(
        asset=key, name="beats_the_baselines",
        description="The primary metric on test is better than that of persistence and of climatology.",
    )  # fmt: skip
    def beats_the_baselines(
        context: dg.AssetCheckExecutionContext, registry: dg.ResourceParam[ModelRegistry]
    ) -> dg.AssetCheckResult:
        made = candidates(context, registry)
        return report(
            unbeaten_baselines(target, made), looked_at=len(made), severity=WARN,
            meaning="The candidate is no better than a simple rule on the test days. There is nothing to do while "
            "another candidate of the year is better: the leaderboard shows it.",
        )  # fmt: skip

    return [digest_verifies, beats_the_baselines]


def altered_models(registry: ModelRegistry, candidates: Mapping[str, ModelReference]) -> Findings:
    """Years whose stored model is not the registered one. An unreachable store is an error, not a finding."""
    findings: dict[str, str] = {}
    for year, reference in candidates.items():
        try:
            registry.load(reference)
        except DigestMismatchError as error:
            findings[year] = str(error)
    return findings


def unbeaten_baselines(target: ForecastTarget, candidates: Mapping[str, ModelReference]) -> Findings:
    """Years in which a baseline is as good as the model on test: which, and by how much."""
    metric = target.primary_metric
    findings: dict[str, str] = {}
    for year, reference in candidates.items():
        own = reference.metric(f"test_{metric}")
        better = {
            name: reference.metric(f"{name}_{metric}")
            for name, baseline in BASELINES.items()
            if target.task in baseline.tasks and reference.metric(f"{name}_{metric}") >= own
        }
        if better:
            said = ", ".join(f"{name} {value:.4f}" for name, value in better.items())
            findings[year] = f"{metric} {own:.4f}, but {said}"
    return findings
