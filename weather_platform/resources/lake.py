"""The lake resource: where the Delta tables are, for assets, checks and the IO manager.

What belongs here: the address and the way in. What does not: reading and writing tables (``lake``). The
access keys of an S3 lake are an object beside the resource, not part of its config, so that no page, log or
run record shows them.
"""

from dataclasses import dataclass

import dagster as dg
from pydantic import Field, SecretStr

from weather_platform.lake import Lake
from weather_platform.settings import Settings


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


class LakeResource(dg.ConfigurableResource[Lake]):
    """Opens the lake. Cheap to call: nothing is read before a table is."""

    uri: str = Field(description="Folder or s3://bucket/prefix of the lake.")
    endpoint_url: str | None = Field(default=None, description="S3 endpoint, e.g. the address of MinIO.")
    region: str = Field(default="us-east-1", description="Region of the S3 endpoint.")
    access_keys: dg.ResourceDependency[AccessKeys] = AccessKeys()  # type: ignore[assignment]

    @classmethod
    def from_settings(cls, settings: Settings) -> "LakeResource":
        """The lake of these settings."""
        return cls(
            uri=settings.lake_uri or str(settings.home / "lake"),
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            access_keys=AccessKeys(settings.s3_access_key_id, settings.s3_secret_access_key),
        )

    def lake(self) -> Lake:
        """The lake, ready to read and write."""
        if not self.uri.startswith("s3://"):
            return Lake(self.uri)
        return Lake(self.uri, self.access_keys.options(self.endpoint_url, self.region))
