"""A home that was moved or copied: every command uses the stores and files of the present folder, and no others."""

import urllib.request
from datetime import date
from pathlib import Path

import pytest

from weather_platform.resources.mlflow_client import ensure_store
from weather_platform.resources.registry import CARD_FILE, PRODUCTION
from weather_platform_tests.e2e.homes import MadeHome, copied, empty_home
from weather_platform_tests.serving.homes import following
from weather_platform_tests.serving.servers import free_port
from weather_platform_tests.serving.test_follower import mlflow_server
from weather_platform_tests.small_models import TARGET, model_file
from weather_platform_tests.watched import watched

COMMANDS = (
    ["status"],
    ["models"],
    ["skill"],
    ["reproduce", TARGET, "1"],
    ["forecast", "--date", "2015-02-01"],
    ["watch", "--month", "2015-05"],
    ["run", "--target", TARGET, "--forecast-days", "1"],
    ["rollback", TARGET, "--reason", "a test of moved homes", "--nowhere"],
)


@pytest.fixture
def made(first: MadeHome, tmp_path: Path) -> MadeHome:
    """A home with models, which knows itself under its own place."""
    home = copied(first, tmp_path / "made")
    assert model_file(home.registry.production(TARGET)).is_relative_to(home.folder)
    return home


def get(url: str) -> str:
    """What a server answers."""
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        return str(answer.read().decode())


def moved(home: MadeHome, folder: Path) -> MadeHome:
    home.folder.rename(folder)
    return empty_home(folder)


def test_every_command_on_a_copy_works_and_opens_nothing_of_the_original(made: MadeHome, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "a copy")
    with watched(made.folder) as opened:
        for command in COMMANDS:
            done = copy.call(*command)
            assert done.code == 0, (command, done.err)
    assert opened == []
    assert copy.registry.alias(TARGET, PRODUCTION) is None
    assert made.registry.production(TARGET).version == 1


def test_a_moved_home_forecasts_with_its_own_models_and_is_reproduced_by_another_process(
    made: MadeHome, tmp_path: Path
) -> None:
    home = moved(made, tmp_path / "moved")
    done = home.run("reproduce", TARGET, "1")
    assert done.code == 0, done.err
    day = date(2015, 2, 1)
    assert home.call("forecast", "--date", day.isoformat()).code == 0
    assert home.database.forecasts(TARGET, day, day, model_version=1).num_rows
    assert not made.folder.exists()


def test_the_service_of_a_copy_serves_its_own_models(made: MadeHome, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    with watched(made.folder) as opened, following(copy) as followed:
        assert followed.version(PRODUCTION) == 1
        assert followed.state.refused == ()
    assert opened == []


def test_the_pages_of_mlflow_show_the_files_of_a_moved_home(made: MadeHome, tmp_path: Path) -> None:
    home = moved(made, tmp_path / "moved")
    store = home.folder / "mlflow.db"
    ensure_store(f"sqlite:///{store}")  # as `weather ui` does before it starts the server
    model = home.registry.version(TARGET, 1)
    with mlflow_server(store, tmp_path / "unused", port := free_port()):
        card = get(f"http://127.0.0.1:{port}/get-artifact?run_uuid={model.run_id}&path={CARD_FILE}")
        model_id = home.registry.reference(model.run_id).model_id
        files = get(f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/directories")
    assert "version 1" in card
    assert model_file(model).name in files
