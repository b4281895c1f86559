"""Which partitions of an asset a blocking check holds back.

What belongs here: reading what the checks said, run by run. What does not: what is held back by it.

A check of the graph has no partitions: it looks at those of its run and names the failing ones in its metadata. So the
newest result that looked at a partition counts, and a later run over other partitions does not hide it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import dagster as dg

from weather_platform.partitions import ONE, RANGE

_LOOKED_BACK: Final = 100
"""Results of one check that are looked at: a fault that is older, and still there, was seen by all of these runs."""


@dataclass(frozen=True, slots=True)
class _Result:
    run_id: str
    passed: bool
    failing: Mapping[str, Any]


def failing_partitions(instance: dg.DagsterInstance, graph: Any, asset: dg.AssetKey) -> dict[str, str]:
    """Partitions of `asset` at which a blocking check failed, each with the name of the check.

    `graph` is the asset graph of an `AutomationContext`. The partition "" stands for all: the check named something
    that is no partition, such as a column.
    """
    partitions = graph.get(asset).partitions_def
    found: dict[str, str] = {}
    for key in sorted(graph.get_check_keys_for_assets({asset}), key=str):
        if graph.get(key).blocking:
            for partition in _failing(instance, partitions, list(_results(instance, key))):
                found.setdefault(partition, key.name)
    return found


def _failing(
    instance: dg.DagsterInstance, partitions: dg.PartitionsDefinition | None, results: list[_Result]
) -> Iterator[str]:
    """The partitions whose newest result is a failure; `results` are the newest first."""
    if all(result.passed for result in results):
        return
    looked_at: list[tuple[str, str]] = []
    for at, result in enumerate(results):
        for name in result.failing:
            if partitions is None or not partitions.has_partition_key(name):
                if at == 0:
                    yield ""
            elif not any(first <= name <= last for first, last in looked_at):
                yield name
        looked_at.append(_span(instance, result.run_id))


def _span(instance: dg.DagsterInstance, run_id: str) -> tuple[str, str]:
    """First and last partition of a run; a run without any looked at all. Keys sort by time."""
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run is not None else {}
    return tags.get(RANGE[0], tags.get(ONE, "")), tags.get(RANGE[1], tags.get(ONE, "~"))


def _results(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> Iterator[_Result]:
    """The results of a check, the newest first."""
    for record in instance.event_log_storage.get_asset_check_execution_history(check, limit=_LOOKED_BACK):
        event = record.event.dagster_event if record.event is not None else None
        if event is None or event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue  # planned, and the run has not come to it
        evaluation = event.asset_check_evaluation_data
        stopped = not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
        named = evaluation.metadata.get("failing_partitions")
        failing = named.value if stopped and named is not None else {}
        yield _Result(record.run_id, not stopped, failing if isinstance(failing, Mapping) else {})
