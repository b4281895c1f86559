"""Where the stores of both profiles are, for code that runs without Dagster too: the service, the command line.

What belongs here: addresses and access keys made from settings, and the stores opened at them. What does not: what a
store does (``lake``, ``database``, ``resources.registry``), and the Dagster resources around them (``profiles``).
Opening connects to nothing. Nothing here imports Dagster or MLflow, and each store is imported when it is opened: the
lake brings pandas (through Arrow's datasets) and the database SQLAlchemy, and some processes want neither.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import SecretStr

from weather_platform.settings import Settings

if TYPE_CHECKING:
    from weather_platform.database import Database
    from weather_platform.lake import Lake


@dataclass(frozen=True, slots=True)
class AccessKeys:
    """The keys of an S3 store; none for a folder. Printing them shows nothing."""

    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None

    def options(self, endpoint_url: str | None, region: str) -> dict[str, str]:
        """As storage options of delta-rs, for this endpoint."""
        keys = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        options = {name: key.get_secret_value() for name, key in keys.items() if key is not None}
        options["AWS_REGION"] = region
        if endpoint_url is not None:
            options["AWS_ENDPOINT_URL"] = endpoint_url
            options["AWS_ALLOW_HTTP"] = str(endpoint_url.startswith("http://")).lower()
        return options


def access_keys(settings: Settings) -> AccessKeys:
    """The keys of lake and reports."""
    return AccessKeys(settings.s3_access_key_id, settings.s3_secret_access_key)


def lake_uri(settings: Settings) -> str:
    """The folder or bucket of the Delta tables."""
    return settings.lake_uri if settings.lake_uri is not None else str(settings.home / "lake")


def open_lake(settings: Settings) -> "Lake":
    """The lake; nothing is read before a table is."""
    return lake_at(lake_uri(settings), access_keys(settings), settings.s3_endpoint_url, settings.s3_region)


def lake_at(uri: str, keys: AccessKeys, endpoint_url: str | None, region: str) -> "Lake":
    """The lake in this folder, or in this bucket with these keys."""
    from weather_platform.lake import Lake

    return Lake(uri, keys.options(endpoint_url, region)) if uri.startswith("s3://") else Lake(uri)


def application_database(settings: Settings) -> "Database":
    """The application database; connects at first use."""
    from weather_platform.database import Database

    if settings.database_url is not None:
        return Database(settings.database_url.get_secret_value())
    return Database(f"sqlite:///{settings.home / 'weather.db'}")


def mlflow_tracking_uri(settings: Settings) -> str:
    """Tracking and registry address: the server of the stack, or an SQLite file in the home."""
    if settings.mlflow_tracking_uri is not None:
        return settings.mlflow_tracking_uri.get_secret_value()
    return f"sqlite:///{settings.home / 'mlflow.db'}"
