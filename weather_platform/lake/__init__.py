"""The lake: Delta tables in a folder or an S3 bucket, exchanged as Arrow.

What belongs here: reading, replacing and versioning tables and partitions. What does not: which asset owns
which table (``io_managers``), where the lake is (``resources``), and anything of Dagster.
"""

from weather_platform.lake.partitions import ComputedPartitions, CoveredPartitions, TablePartitions
from weather_platform.lake.tables import Lake, Replaced, Snapshot

__all__ = ["ComputedPartitions", "CoveredPartitions", "Lake", "Replaced", "Snapshot", "TablePartitions"]
