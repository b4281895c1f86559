"""What each step cost, in the metadata of what it made: wall seconds, CPU seconds, peak memory, rows a second.

What belongs here: when the meter of a step starts and stops, and the keys of its figures. What does not: measuring
(``costs``). A lazy range is computed while the IO manager stores it, so the meter starts with the asset's function and
stops when everything is stored: an IO manager calls `tell_costs` last of all, and `metered` does for an asset that has
none. The figures are of the whole range and stand at its newest partition, once. An asset that says how many `rows` it
made gets a rate. Assets made together share what their step cost.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._core.execution.context.system import StepExecutionContext

from weather_platform.costs import Meter

WALL_SECONDS: Final = "wall_seconds"
CPU_SECONDS: Final = "cpu_seconds"
PEAK_MEMORY_MB: Final = "peak_memory_mb"
ROWS_PER_SECOND: Final = "rows_per_second"

P = ParamSpec("P")
R = TypeVar("R")

_METERS: Final[WeakKeyDictionary[StepExecutionContext, Meter]] = WeakKeyDictionary()
"""The running meters. Weak, so that the meter of a step that failed ends with the step."""


def metered(compute: Callable[P, R]) -> Callable[P, R]:
    """The same asset function with its costs told. Every asset of the graph is decorated so, right below `@asset`."""
    if inspect.isgeneratorfunction(compute):

        @wraps(compute)
        def yielded(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            step = _started(args[0])
            for result in compute(*args, **kwargs):
                tell_costs(step)
                yield result

        return yielded  # type: ignore[return-value]

    @wraps(compute)
    def returned(*args: P.args, **kwargs: P.kwargs) -> R:
        step = _started(args[0])
        result = compute(*args, **kwargs)
        if result is None or isinstance(result, dg.MaterializeResult):  # no IO manager comes after
            tell_costs(step)
        return result

    return returned


def tell_costs(step: StepExecutionContext) -> None:
    """Stop the step's meter and attach its figures. A step without a running meter has nothing to tell."""
    meter, asset = _METERS.pop(step, None), step.assets_def
    if meter is None or asset is None:
        return
    costs = meter.stop()
    partitions: list[str | None] = [None]
    if asset.partitions_def is not None:
        partitions = list(asset.partitions_def.get_partition_keys_in_range(step.partition_key_range))
    for key in asset.keys:
        told = {
            WALL_SECONDS: round(costs.wall_seconds, 3),
            CPU_SECONDS: round(costs.cpu_seconds, 3),
            PEAK_MEMORY_MB: round(costs.peak_memory_mb, 1),
        }
        said = [step.get_asset_metadata(key, partition) or {} for partition in partitions]
        rows = [int(each["rows"]) for each in said if "rows" in each]
        if rows:
            told[ROWS_PER_SECOND] = round(sum(rows) / costs.wall_seconds, 1)
        step.add_asset_metadata(told, asset_key=key, partition_key=partitions[-1])


def _started(context: Any) -> StepExecutionContext:
    step: StepExecutionContext = context.get_step_execution_context()
    _METERS[step] = Meter()
    return step
