"""Options and fixtures that every room of the tests shares."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--snapshot-update", action="store_true", help="Write the graph snapshot anew.")
