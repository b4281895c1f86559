"""A real MLflow on SQLite for the resources that use one."""

from weather_platform_tests.mlflow_stores import empty_mlflow, store, tracking_uri

__all__ = ["empty_mlflow", "store", "tracking_uri"]
