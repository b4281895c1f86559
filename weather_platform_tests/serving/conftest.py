"""The server that most tests share, the home it serves, and one with three versions of one target."""

import fcntl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from weather_platform.stores import mlflow_tracking_uri
from weather_platform_tests.e2e.homes import MadeHome, copied, empty_home, shared_home
from weather_platform_tests.serving.homes import register, trained
from weather_platform_tests.serving.servers import Server, add_user, running


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """The home after one small `weather run`; nobody changes it."""
    return shared_home(tmp_path_factory)


@pytest.fixture(scope="session")
def served_home(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """A copy of it with two users: ada may forecast and see the metrics, bob may only forecast."""
    home = copied(first, tmp_path_factory.mktemp("served") / "home")
    add_user(home, "ada", "predict", "admin")
    add_user(home, "bob", "predict")
    return home


@pytest.fixture(scope="session")
def server(served_home: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker, ready. Tests do not end it or change what it serves."""
    with running(served_home, tmp_path_factory.mktemp("server")) as ready:
        yield ready


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[httpx.Client]:
    """A client of that server with the token of ada."""
    with server.client() as ready:
        yield ready


@pytest.fixture
def home(first: MadeHome, tmp_path: Path) -> MadeHome:
    """A copy of the first home for one test, with the user ada."""
    made = copied(first, tmp_path / "home")
    add_user(made, "ada", "predict", "admin")
    return made


@pytest.fixture(scope="session")
def three_versions(first: MadeHome, tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """Version 1 serves, versions 2 and 3 are registered; made beside it by the first worker, and nobody changes it."""
    folder = first.folder.with_name("three-versions")
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (whole := folder.with_suffix(".whole")).exists():
            made = copied(first, folder)
            for seed in (2, 3):
                register(made.registry, mlflow_tracking_uri(made.settings), trained(first.folder, seed))
            whole.touch()
    return empty_home(folder)


@pytest.fixture
def several(three_versions: MadeHome, tmp_path: Path) -> MadeHome:
    """A copy of it for one test."""
    return copied(three_versions, tmp_path / "home")
