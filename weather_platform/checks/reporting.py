"""What every check has in common: which partitions it looks at, and how it answers.

It passes when there are no findings, and names the partitions at fault when there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from weather_platform.partitions import ONE, RANGE

Findings = Mapping[str, Any]
"""What is wrong, by partition (or by another name that leads people to it); empty when nothing is."""

_NAMED, _FINDING_CHARACTERS = 5, 200
"""Findings that a description names, and how much it says of each; the metadata has all."""

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def report(
    findings: Findings,
    *,
    looked_at: int = 1,
    severity: dg.AssetCheckSeverity = ERROR,
    meaning: str = "",
    **more: float,
) -> dg.AssetCheckResult:
    """The result of a check over `looked_at` partitions, with more numbers to tell.

    Only ERROR of a blocking check stops what comes after it. WARN stops nothing, so its `meaning` says in a sentence
    what follows from the findings and what to do; terminal and UI show it after them.
    """
    named = (f"{name}: {shorten(str(what), _FINDING_CHARACTERS)}" for name, what in list(findings.items())[:_NAMED])
    more_of_them = f" and {len(findings) - _NAMED} more" if len(findings) > _NAMED else ""
    said = "; ".join(named) + more_of_them
    if findings and meaning:
        said = f"{said}. {meaning}"
    return dg.AssetCheckResult(
        passed=not findings,
        severity=severity,
        description=said or None,
        metadata={"partitions": looked_at, "failing_partitions": dict(findings), **more},
    )


def shorten(text: str, characters: int) -> str:
    """The beginning of a text, with a mark where the rest was."""
    return text if len(text) <= characters else f"{text[: characters - 4].rstrip(' ,;')} ..."


def partitions_of_run(context: dg.AssetCheckExecutionContext, asset: dg.AssetKey) -> Sequence[str]:
    """The partitions of the run. A check that was started alone, without any, looks at all that are materialised."""
    tags = context.run.tags
    first, last = (tags.get(tag, tags.get(ONE)) for tag in RANGE)
    if first is None or last is None:
        return sorted(context.instance.get_materialized_partitions(asset))
    partitions = context.op_execution_context.job_def.asset_layer.get(asset).partitions_def
    assert partitions is not None, asset  # noqa: S101 - only checks of partitioned assets ask
    return partitions.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
