"""The two profiles: where each resource goes, that nothing is opened early, and that a dead stack is never replaced."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from weather_platform.errors import LakeError, RegistryError, WeatherError
from weather_platform.profiles import resources_for
from weather_platform.resources.lake import LakeResource
from weather_platform.resources.registry import ModelRegistry
from weather_platform.settings import Settings, load_settings
from weather_platform.stores import application_database, mlflow_tracking_uri
from weather_platform_tests.small_models import TARGET

SECRET = "correct-horse"  # noqa: S105
KEYS = {"endpoint", "source", "lake", "lake_io", "database", "registry", "mlflow", "model_io", "reports", "report_io"}


@pytest.fixture(autouse=True)
def _no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WEATHER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port on which nobody listens, held for the test."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def stack(home: Path, port: int) -> Settings:
    """The stack profile, with every server at this port."""
    return load_settings(
        home=home, profile="stack", lake_uri="s3://lake/weather", reports_uri="s3://reports/weather", s3_endpoint_url=f"http://127.0.0.1:{port}",
        s3_access_key_id=f"id-{SECRET}", s3_secret_access_key=f"key-{SECRET}",
        mlflow_tracking_uri=f"http://weather:{SECRET}@127.0.0.1:{port}",
        database_url=f"postgresql://weather:{SECRET}@127.0.0.1:{port}/weather",
    )  # fmt: skip


def test_everything_of_the_embedded_profile_lies_in_its_home(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    assert mlflow_tracking_uri(settings) == f"sqlite:///{tmp_path}/home/mlflow.db"
    assert str(tmp_path / "home" / "weather.db") in repr(application_database(settings))
    assert LakeResource.from_settings(settings).lake().uri == str(tmp_path / "home" / "lake")


def test_everything_of_the_stack_profile_goes_to_its_servers(tmp_path: Path) -> None:
    settings = stack(tmp_path, 1)
    assert mlflow_tracking_uri(settings) == f"http://weather:{SECRET}@127.0.0.1:1"
    assert "postgresql" in repr(application_database(settings))
    lake = LakeResource.from_settings(settings)
    assert (lake.lake().uri, lake.endpoint_url) == ("s3://lake/weather", "http://127.0.0.1:1")
    assert lake.access_keys.options(None, "us-east-1")["AWS_SECRET_ACCESS_KEY"] == f"key-{SECRET}"


def test_both_profiles_have_the_same_resources_and_building_them_opens_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert set(resources_for(load_settings(home=home))) == KEYS
    assert set(resources_for(stack(home, 1))) == KEYS
    assert not home.exists()


def test_no_resource_of_the_stack_shows_a_secret(tmp_path: Path) -> None:
    resources = resources_for(stack(tmp_path, 1))
    for name, resource in resources.items():
        assert SECRET not in repr(resource), name
        assert SECRET not in str(getattr(resource, "description", "")), name
    lake = resources["lake"]
    assert SECRET not in str(lake.model_dump())


def test_a_stack_whose_servers_are_down_is_an_error_of_one_line_and_never_replaced_by_folders(
    tmp_path: Path, dead_port: int
) -> None:
    settings = stack(tmp_path / "home", dead_port)
    said = []
    with pytest.raises(RegistryError) as registry:
        ModelRegistry.from_settings(settings).aliases(TARGET)
    said.append(str(registry.value))
    with pytest.raises(WeatherError) as database:
        application_database(settings).migrate()
    said.append(str(database.value))
    with pytest.raises(LakeError) as lake:
        LakeResource.from_settings(settings).lake().read("stations")
    said.append(str(lake.value))
    for message in said:
        assert "\n" not in message
        assert SECRET not in message
    assert not (tmp_path / "home").exists()


def test_the_database_resource_brings_the_tables_up_to_date(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    with dg.build_resources({"database": resources_for(settings)["database"]}) as opened:
        assert opened.database.decisions(TARGET) == []
    assert (tmp_path / "weather.db").exists()


def test_the_way_to_the_stores_takes_neither_dagster_nor_mlflow_nor_what_only_training_needs() -> None:
    program = (
        "import sys, weather_platform.stores, weather_platform.resources.registry;"
        "print(sorted({'dagster', 'mlflow', 'pandas', 'scipy.stats', 'sklearn', 'xgboost'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
