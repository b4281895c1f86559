"""Options, the order of the files, and which of them one worker runs, for every room of the tests."""

from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from weather_platform.folders import keep_files_private
from weather_platform.garbage import look_for_garbage_seldom

LONG = (
    "e2e/test_real_table.py",
    "test_readme.py",
    "e2e/test_killed.py",
    "e2e/test_third_target.py",
    "e2e/test_reruns.py",
    "e2e/test_own_stations.py",
    "e2e/test_retraining.py",
    "e2e/test_moved_home.py",
    "e2e/test_update.py",
    "e2e/test_conditions.py",
    "ui/test_killed_runs.py",
    "e2e/test_replay.py",
    "e2e/test_carried_model.py",
    "e2e/test_rollback.py",
    "old_homes/test_old_homes.py",
    "serving/test_bento.py",
    "ui/test_user_interfaces.py",
    "ui/test_backfills.py",
)
"""Whole runs of the product, minutes each, and what is built of them: `make test-long`."""

FIRST = (
    *LONG,
    "processed/test_cleaning.py",
    "assets/test_leaderboard.py",
    "e2e/test_outages.py",
    "serving/test_follower.py",
    "serving/test_clients.py",
)
"""Files that take longest, begun first: a worker that begins one of them last would end it alone. Of those with the
shared home, one comes before two without: it makes the home, and the others would wait for it."""

ONE_SERVICE = frozenset(
    f"serving/test_{name}.py"
    for name in ("clients", "endpoint", "equality", "lean", "mlflow_protocol", "openapi", "refusals", "routes")
)
"""Files that ask the server of serving/conftest.py: one worker runs them all, as each worker starts a server."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--snapshot-update", action="store_true", help="Write the graph snapshot anew.")


def pytest_configure() -> None:
    keep_files_private()  # as in the command: else every home that a test writes files to would be an open one
    look_for_garbage_seldom()  # as in the command: a tenth of the tests too
    _read_migrations_once()


def _read_migrations_once() -> None:
    """Dagster and MLflow read all their migrations for every new SQLite file, a twentieth of the tests."""
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def once(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    ScriptDirectory.from_config = once  # type: ignore[method-assign]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    rank = {here / name: at for at, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(FIRST)))  # stable: all others stay as they were
    for item in items:
        if rank.get(item.path, len(FIRST)) < len(LONG):
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadfile`: as it is, and the files of ONE_SERVICE as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "serving" if file.removeprefix(f"{Path(__file__).parent.name}/") in ONE_SERVICE else file

    return Files(config, log) if config.getvalue("dist") == "loadfile" else None
