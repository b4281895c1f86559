"""Every asset of the graph tells what its step cost; one that was forgotten is named."""

from pathlib import Path

import dagster as dg

from weather_platform.build import build_definitions
from weather_platform.io_managers.costs import CPU_SECONDS, PEAK_MEMORY_MB, ROWS_PER_SECOND, WALL_SECONDS, metered
from weather_platform.settings import Settings
from weather_platform_tests.e2e.homes import MadeHome

RATELESS = {"leaderboard", "promotion", "production"}
"""They decide and move an alias; they make no rows."""


def test_no_asset_of_the_graph_is_without_a_meter(tmp_path: Path) -> None:
    for asset in build_definitions(Settings(home=tmp_path)).assets or []:
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            function = asset.op.compute_fn.decorated_fn  # type: ignore[union-attr]
            assert function.__code__.co_filename == metered.__code__.co_filename, f"put @metered on {asset.keys}"


def test_every_asset_of_a_whole_run_tells_its_costs_once(first: MadeHome) -> None:
    told: dict[tuple[str, dg.AssetKey], list[dict[str, float]]] = {}
    with first.dagster() as instance:
        for run in instance.get_runs():
            events = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
            for record in events.records:
                made = record.asset_materialization
                assert made is not None
                metadata = {name: value.value for name, value in made.metadata.items()}
                told.setdefault((run.run_id, made.asset_key), []).append(metadata)  # type: ignore[arg-type]
    assert {key.path[-1] for _, key in told} >= {"raw_observations", "observations", "split", "xgboost", "forecasts"}
    for (_, key), materializations in told.items():
        [costs] = [each for each in materializations if WALL_SECONDS in each]
        assert costs[WALL_SECONDS] > 0, key
        assert costs[CPU_SECONDS] > 0, key
        assert 50 < costs[PEAK_MEMORY_MB] < 5_000, key
        assert (ROWS_PER_SECOND in costs) == (key.path[-1] not in RATELESS), key
