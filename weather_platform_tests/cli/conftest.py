"""The shared small run, for the commands that show it."""

from weather_platform_tests.e2e.conftest import first, home

__all__ = ["first", "home"]
