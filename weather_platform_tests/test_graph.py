"""The asset graph as a picture in text: every change of a key, dependency, partition, IO manager, check or job shows in
review. Not code versions, which change with the code, and nothing of today: the last partition is that of the day.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from weather_platform.build import build_definitions
from weather_platform.domain.algorithms import ALGORITHMS
from weather_platform.domain.targets import TARGETS
from weather_platform.settings import PROJECT_DIR, Settings

SNAPSHOT = Path(__file__).parent / "graph.json"
HEAVY = ("mlflow", "xgboost", "sklearn", "evidently", "bentoml", "dbt", "duckdb", "matplotlib")


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        # The first month and the time zone of the partitions are settings: the picture is of their defaults.
        for name in [name for name in os.environ if name.startswith("WEATHER_")]:
            patch.delenv(name)
        return build_definitions(Settings(home=tmp_path_factory.mktemp("home")))


def _partitions(partitions: dg.PartitionsDefinition[Any] | None) -> dict[str, Any] | None:
    """What makes the keys of partitions, without the keys themselves: a new one comes every day."""
    if partitions is None:
        return None
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)  # tell here what makes the keys of another kind
    return {
        "format": partitions.fmt,
        "schedule": partitions.cron_schedule,
        "start": partitions.start.isoformat(),
        "end": partitions.end.isoformat() if partitions.end else None,
        "end_offset": partitions.end_offset,
        "timezone": partitions.timezone,
    }


def _mapping(mapping: dg.PartitionMapping, upstream: dg.PartitionsDefinition[Any] | None) -> str:
    """Class and offsets. An offset that reaches back to before the first partition grows by the year; as `all` it does
    not, and is still told from one that is too short.
    """
    text = repr(mapping)
    assert "0x" not in text  # an address in memory, where a class does not tell its values
    if isinstance(mapping, dg.TimeWindowPartitionMapping) and upstream is not None:
        before = -mapping.start_offset
        if before and before >= upstream.get_num_partitions():
            return text.replace(f"start_offset=-{before}", "start_offset=-all")
    return text


def picture(definitions: dg.Definitions) -> dict[str, Any]:
    graph = definitions.resolve_asset_graph()
    assets = {}
    for spec in definitions.resolve_all_asset_specs():
        key = spec.key.to_user_string()
        assets[key] = {
            "group": spec.group_name,
            "partitions": _partitions(spec.partitions_def),
            # As Dagster takes them, with the mapping that it infers where an asset names none.
            "depends_on": {
                parent.to_user_string(): _mapping(
                    graph.get_partition_mapping(spec.key, parent), graph.get(parent).partitions_def
                )
                for parent in sorted(dep.asset_key for dep in spec.deps)
            },
            "io_manager": graph.get(spec.key).assets_def.get_io_manager_key_for_asset_key(spec.key),
            "kinds": sorted(spec.kinds),
            "owners": list(spec.owners),
            "backfill_policy": str(graph.get(spec.key).backfill_policy),
            "checks": sorted(
                f"{check.name} (blocking)" if graph.get(check).blocking else check.name
                for check in graph.asset_check_keys
                if check.asset_key == spec.key
            ),
        }
    jobs = {
        job.name: sorted(
            key.to_user_string() for key in definitions.resolve_job_def(job.name).asset_layer.executable_asset_keys
        )
        for job in definitions.jobs or []
    }
    return {"assets": dict(sorted(assets.items())), "jobs": jobs}


def test_the_graph_is_the_one_that_was_reviewed(definitions: dg.Definitions, request: pytest.FixtureRequest) -> None:
    now = picture(definitions)
    if request.config.getoption("--snapshot-update"):
        SNAPSHOT.write_text(json.dumps(now, indent=1) + "\n")
    assert now == json.loads(SNAPSHOT.read_text()), "look at the change, then: pytest --snapshot-update"


def test_every_asset_has_a_description_an_owner_and_a_code_version(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.code_version, spec.key


def test_every_target_and_algorithm_of_the_registries_has_its_assets(definitions: dg.Definitions) -> None:
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    for target in TARGETS.values():
        assert {f"{target.name}/{name}" for name in ("split", "promotion", "production", "forecasts")} <= keys
        assert {f"{target.name}/{a.name}" for a in ALGORITHMS.values() if target.task in a.tasks} <= keys


def test_every_asset_belongs_to_exactly_one_stage_job(definitions: dg.Definitions) -> None:
    jobs = picture(definitions)["jobs"]
    listed = [key for keys in jobs.values() for key in keys]
    made = definitions.resolve_asset_graph().executable_asset_keys  # people set masks, and no job does
    assert sorted(listed) == sorted(key.to_user_string() for key in made)


def test_the_code_location_loads_as_the_code_server_loads_it_without_the_heavy_libraries(tmp_path: Path) -> None:
    program = (
        "import gc, sys, json\n"
        "from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module as load\n"
        "targets = load('weather_platform.definitions', None)\n"
        "assert len(targets) == 1\n"
        "assert gc.get_threshold()[0] == 100_000\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_DIR, env={"WEATHER_HOME": str(tmp_path), "PATH": ""}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_the_definitions_are_valid_for_dagster_and_for_dg(tmp_path: Path) -> None:
    bin_dir = Path(sys.executable).parent
    home = str(tmp_path)
    environment = {"WEATHER_HOME": home, "DAGSTER_HOME": home, "PATH": str(bin_dir), "HOME": home}
    for command in (
        ["dagster", "definitions", "validate", "--workspace", "workspace.yaml"],
        ["dg", "check", "defs"],
    ):
        done = subprocess.run(
            [str(bin_dir / command[0]), *command[1:]],
            cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


def test_loading_the_definitions_writes_nothing(tmp_path: Path) -> None:
    build_definitions(Settings(home=tmp_path / "home"))
    assert not (tmp_path / "home").exists()
