"""build_definitions: one way in, resources replaced by key, nothing opened, no warning on the way."""

import os
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from weather_platform.assets.models import config_of
from weather_platform.build import build_definitions
from weather_platform.domain.algorithms import ALGORITHMS, Algorithm
from weather_platform.errors import InvariantError, SettingsError
from weather_platform.settings import PROJECT_DIR, Settings
from weather_platform.sources.synthetic import SyntheticSource
from weather_platform_tests.stages import Home


def _small_source(stations: int) -> SyntheticSource:
    return SyntheticSource(
        seed=5, station_count=stations, first_day=date(2015, 1, 1), last_day=date(2015, 1, 31), shift=None,
        first_month="2007-11", fetched_at=datetime(2015, 2, 1, tzinfo=ZoneInfo("Australia/Sydney")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("automation", "status"), [(True, dg.DefaultSensorStatus.RUNNING), (False, dg.DefaultSensorStatus.STOPPED)]
)
def test_one_setting_switches_every_sensor_and_schedule(
    tmp_path: Path, automation: bool, status: dg.DefaultSensorStatus
) -> None:
    definitions = build_definitions(Settings(home=tmp_path, automation=automation))
    repository = definitions.get_repository_def()
    sensors, schedules = repository.sensor_defs, repository.schedule_defs
    assert {"new_observations", "follow_upstream", "retraining_outcomes", "send_notices"} <= {
        sensor.name for sensor in sensors
    }
    assert {schedule.name for schedule in schedules} == {"ask_for_reports", "month_ended", "housekeeping"}
    assert {sensor.default_status.value for sensor in sensors} == {status.value}
    assert {schedule.default_status.value for schedule in schedules} == {status.value}


def test_a_resource_that_is_given_replaces_the_one_of_that_key_and_no_other(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    own, given = build_definitions(settings), _small_source(3)
    replaced = build_definitions(settings, resource_overrides={"source": given})
    assert own.resources is not None
    assert replaced.resources is not None
    assert replaced.resources.keys() == own.resources.keys()
    assert replaced.resources["source"] is given
    assert own.resources["source"] is not given


def test_the_graph_runs_on_the_resource_that_is_given(tmp_path: Path) -> None:
    home = Home(tmp_path)
    group = dg.AssetSelection.groups("raw")
    assert home.run(group, "2015-01", resources={"source": _small_source(3)}).success
    assert home.lake.read("stations").num_rows >= 3
    assert set(home.lake.read("raw_observations")["file"].to_pylist()) == {"synthetic:5"}


def test_building_warns_of_nothing_and_leaves_the_warnings_of_others_alone(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_definitions(Settings(home=tmp_path))
        with pytest.raises(dg.BetaWarning):
            warnings.warn("something of somebody else", dg.BetaWarning, stacklevel=1)


def test_two_graphs_of_different_settings_do_not_share_state(tmp_path: Path) -> None:
    one = build_definitions(Settings(home=tmp_path / "one", first_month="2010-01"))
    other = build_definitions(Settings(home=tmp_path / "other", first_month="2012-01"))
    for definitions, first in ((one, "2010-01"), (other, "2012-01")):
        partitions = definitions.resolve_asset_graph().get(dg.AssetKey("raw_observations")).partitions_def
        assert partitions is not None
        assert partitions.get_first_partition_key() == first


def test_the_launchpad_shows_every_parameter_with_its_bounds_and_meaning(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, seed=11, threads=1)
    algorithm = ALGORITHMS["xgboost"]
    shown = config_of(algorithm, settings)
    assert (shown().seed, shown().threads) == (11, 1)  # type: ignore[attr-defined]
    assert set(shown.model_fields) >= {parameter.name for parameter in algorithm.parameters}
    for name, field in shown.model_fields.items():
        assert field.description, name
    for parameter in algorithm.parameters:
        for outside in (parameter.low - 1, parameter.high + 1):
            with pytest.raises(ValueError, match=parameter.name):
                shown(**{parameter.name: outside})


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=list(ALGORITHMS))
def test_a_trial_trains_with_quick_parameters_and_nothing_else_does(tmp_path: Path, algorithm: Algorithm) -> None:
    in_earnest, in_a_trial = (
        config_of(algorithm, Settings(home=tmp_path, quick=quick))().model_dump() for quick in (False, True)
    )
    assert algorithm.defaults().items() <= in_earnest.items()
    assert {name: value for name, value in in_a_trial.items() if value != in_earnest[name]} == dict(algorithm.quick)


def test_quick_parameters_have_the_bounds_of_all_parameters() -> None:
    assert ALGORITHMS["xgboost"].quickly()["n_estimators"] < ALGORITHMS["xgboost"].defaults()["n_estimators"]
    with pytest.raises(InvariantError, match="eta must be between"):
        replace(ALGORITHMS["xgboost"], quick={"eta": 2.0}).quickly()


def test_definitions_do_not_load_with_settings_that_cannot_be_used(tmp_path: Path) -> None:
    environment = {"WEATHER_HOME": str(tmp_path), "WEATHER_THREADS": "0", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", "import weather_platform.definitions"],
        cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert f"{SettingsError.__name__}: WEATHER_THREADS: " in done.stderr.splitlines()[-1]
