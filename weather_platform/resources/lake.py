"""The lake resource: where the Delta tables are, for assets, checks and the IO manager.

What belongs here: the address and the way in. What does not: reading and writing tables (``lake``). The
access keys of an S3 lake are an object beside the resource, not part of its config, so that no page, log or
run record shows them.
"""

import dagster as dg
from pydantic import Field

from weather_platform.lake import Lake
from weather_platform.settings import Settings
from weather_platform.stores import AccessKeys, access_keys, lake_at, lake_uri


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
            uri=lake_uri(settings),
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            access_keys=access_keys(settings),
        )

    def lake(self) -> Lake:
        """The lake, ready to read and write."""
        return lake_at(self.uri, self.access_keys, self.endpoint_url, self.region)
