"""The shared run and spoilable copies of it."""

from pathlib import Path

import pytest

from weather_platform_tests.e2e.homes import MadeHome, copied, shared_home


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> MadeHome:
    """The home after one small `weather run`; nobody changes it."""
    return shared_home(tmp_path_factory)


@pytest.fixture
def home(first: MadeHome, tmp_path: Path) -> MadeHome:
    """A copy of that home for one test."""
    return copied(first, tmp_path / "home")
