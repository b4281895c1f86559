"""How an asset says that it passes over partitions of a run: in the metadata of each, and once in the log.

What belongs here: the saying. What does not: which partitions are passed over, and why; the assets know that.
"""

from collections.abc import Mapping

import dagster as dg

from weather_platform.assets.splits import REASON


def pass_over(context: dg.AssetExecutionContext, reasons: Mapping[str, str], *assets: str) -> None:
    """Say of each partition why it is passed over; `assets` are named where the run makes several at once."""
    if not reasons:
        return
    for partition, reason in reasons.items():
        for asset in assets or (None,):
            context.add_asset_metadata({REASON: reason}, asset_key=asset, partition_key=partition)
    first, *others = reasons.values()
    context.log.warning(f"{first}; the same for {len(others)} more, to {max(reasons)}" if others else first)
