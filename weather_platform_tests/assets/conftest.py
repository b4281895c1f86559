"""The shared small run and copies of it, for assets that need models and features."""

from weather_platform_tests.e2e.conftest import first, home

__all__ = ["first", "home"]
