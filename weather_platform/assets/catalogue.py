"""Words that every asset shares: stage names, owners, the backfill policy. No asset is defined here."""

from typing import Final, TypedDict

import dagster as dg

from weather_platform.domain.targets import ForecastTarget

OWNERS: Final = ["team:weather-platform"]
SINGLE_RUN: Final = dg.BackfillPolicy.single_run()
"""Every asset of the graph works on a whole range of partitions in one run."""

LAKE_IO: Final = "lake_io"
MODEL_IO: Final = "model_io"
REPORT_IO: Final = "report_io"


class Shared(TypedDict):
    """The arguments of `@asset` that every asset takes."""

    group_name: str
    owners: list[str]
    kinds: set[str]
    code_version: str
    backfill_policy: dg.BackfillPolicy


def described(text: str, target: ForecastTarget) -> str:
    """A description for the pages of one target: `{target}` in a module's text becomes its name."""
    return text.replace("{target}", target.name)


def shared(stage: str, *kinds: str, code_version: str = "1") -> Shared:
    """The arguments every asset of a stage takes: group, owners, kinds, code version, single-run backfills."""
    return {
        "group_name": stage,
        "owners": OWNERS,
        "kinds": {"python", *kinds},
        "code_version": code_version,
        "backfill_policy": SINGLE_RUN,
    }
