"""Options and the order of the files, for every room of the tests."""

import gc
from pathlib import Path

import pytest

LONGEST = (
    "e2e/test_real_table.py",
    "test_readme.py",
    "e2e/test_killed.py",
    "e2e/test_third_target.py",
    "e2e/test_reruns.py",
)
"""Files that take longest, begun first: a worker that begins one of them last would end it alone."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--snapshot-update", action="store_true", help="Write the graph snapshot anew.")


def pytest_configure() -> None:
    # As in the command: looking for garbage among all that is imported, again and again, is a tenth of the tests.
    gc.set_threshold(100_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    rank = {here / name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))  # stable: all others stay as they were
