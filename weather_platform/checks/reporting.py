"""How every check answers: passed when there are no findings, and the partitions at fault by name when there are."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

Findings = Mapping[str, Any]
"""What is wrong, by partition (or by another name that leads people to it); empty when nothing is."""

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def report(findings: Findings, *, looked_at: int = 1, severity: dg.AssetCheckSeverity = ERROR) -> dg.AssetCheckResult:
    """The result of a check over `looked_at` partitions. Only ERROR of a blocking check stops what comes after it."""
    said = "; ".join(f"{name}: {what}" for name, what in list(findings.items())[:5])
    return dg.AssetCheckResult(
        passed=not findings,
        severity=severity,
        description=said or None,
        metadata={"partitions": looked_at, "failing_partitions": dict(findings)},
    )
