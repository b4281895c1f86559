"""Between Arrow tables and the arrays that features, labels and models are computed on.

What belongs here: the schema of the stored features, and both directions of the conversion. What does not: any
value of a feature or a label (``features``, ``targets``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.domain.features import FEATURES, FeatureMatrix, StationGrid
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.stations import Station
from weather_platform.domain.targets import TARGETS, labels

OBSERVED: tuple[str, ...] = ("station", "day", *(c.name for c in OBSERVATION_COLUMNS))
"""The columns of the observations table that features and labels read."""


def label_column(target: str) -> str:
    """Name of a target's label in the stored features."""
    return f"label_{target}"


def _field(name: str, kind: pa.DataType, *, nullable: bool, unit: str, description: str) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"unit": unit, "description": description})


FEATURES_SCHEMA: pa.Schema = pa.schema(
    [
        _field("year", pa.string(), nullable=False, unit="-", description="Partition: calendar year of the issue day."),
        _field("station", pa.string(), nullable=False, unit="-", description="Catalogue id of the station."),
        _field("day", pa.date32(), nullable=False, unit="-", description="Issue day: the station's local day D."),
        *(_field(f.name, pa.float32(), nullable=True, unit=f.unit, description=f.description) for f in FEATURES),
        *(
            _field(
                label_column(t.name), pa.float32(), nullable=True, unit=t.unit,
                description=f"Label of {t.name}, from the station's next calendar day; null until that day is observed.",
            )
            for t in TARGETS.values()
        ),
    ]
)  # fmt: skip
"""One row per observed station-day: the feature matrix and the labels of every target. Missing is null."""


def station_grid(stations: pa.Table) -> StationGrid:
    """The grid of a stored station catalogue."""
    return StationGrid.from_stations([Station(**row) for row in stations.to_pylist()])


def observation_arrays(observations: pa.Table, grid: StationGrid) -> dict[str, NDArray[Any]]:
    """Columns of the observations table as the arrays of `build_features`; a station outside the grid becomes -1."""
    index = pc.fill_null(pc.index_in(observations["station"], value_set=pa.array(grid.ids)), -1)
    arrays: dict[str, NDArray[Any]] = {
        "station_index": index.to_numpy().astype(np.int32),
        "day": observations["day"].cast(pa.int32()).to_numpy(),
    }
    for column in OBSERVATION_COLUMNS:
        values = observations[column.name]
        arrays[column.name] = (values.cast(pa.float64()) if column.kind == "flag" else values).to_numpy()
    return arrays


def feature_table(year: str, matrix: FeatureMatrix, grid: StationGrid, observed: Mapping[str, NDArray[Any]]) -> pa.Table:
    """Features and labels of one year as FEATURES_SCHEMA; `observed` reaches the day after the last row's."""
    names = pa.array(grid.ids, pa.string())
    columns: list[pa.Array] = [
        pa.repeat(pa.scalar(year), len(matrix)),
        names.take(pa.array(matrix.station_index)),
        pa.array(matrix.day).cast(pa.date32()),
    ]
    columns += [pa.array(matrix.values[:, j], from_pandas=True) for j in range(len(FEATURES))]
    columns += [
        pa.array(labels(target, matrix.station_index, matrix.day, observed), from_pandas=True)
        for target in TARGETS.values()
    ]
    return pa.Table.from_arrays(columns, schema=FEATURES_SCHEMA)
