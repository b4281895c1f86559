"""A real MLflow on SQLite for the IO manager of models."""

from weather_platform_tests.mlflow_stores import empty_mlflow, store, tracking_uri

__all__ = ["empty_mlflow", "store", "tracking_uri"]
