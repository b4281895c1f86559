"""What every check has in common: which partitions it looks at, and how it answers.

It passes when there are no findings, and names the partitions at fault when there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

Findings = Mapping[str, Any]
"""What is wrong, by partition (or by another name that leads people to it); empty when nothing is."""

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
ONE = "dagster/partition"
"""Tags that name the partitions of a run."""

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def report(
    findings: Findings, *, looked_at: int = 1, severity: dg.AssetCheckSeverity = ERROR, **more: float
) -> dg.AssetCheckResult:
    """The result of a check over `looked_at` partitions, with more numbers to tell.

    Only ERROR of a blocking check stops what comes after it.
    """
    said = "; ".join(f"{name}: {what}" for name, what in list(findings.items())[:5])
    return dg.AssetCheckResult(
        passed=not findings,
        severity=severity,
        description=said or None,
        metadata={"partitions": looked_at, "failing_partitions": dict(findings), **more},
    )


def partitions_of_run(context: dg.AssetCheckExecutionContext, asset: dg.AssetKey) -> Sequence[str]:
    """The partitions of the run. A check that was started alone, without any, looks at all that are materialised."""
    tags = context.run.tags
    first, last = (tags.get(tag, tags.get(ONE)) for tag in RANGE)
    if first is None or last is None:
        return sorted(context.instance.get_materialized_partitions(asset))
    partitions = context.op_execution_context.job_def.asset_layer.get(asset).partitions_def
    assert partitions is not None, asset  # noqa: S101 - only checks of partitioned assets ask
    return partitions.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
