"""Between Arrow tables and the arrays that features, labels and models are computed on.

What belongs here: the schema of the stored features, and both directions of the conversion. What does not: any
value of a feature or a label (``features``, ``targets``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from weather_platform.domain.features import (
    FEATURE_VERSION,
    FEATURES,
    FeatureMatrix,
    StationGrid,
    feature_names,
)
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.stations import stations_of
from weather_platform.domain.targets import TARGETS, ForecastTarget, labels
from weather_platform.domain.training import TrainingData

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
                description=f"Label of {t.name}, from the station's next calendar day; null until it is observed.",
            )
            for t in TARGETS.values()
        ),
    ]
)  # fmt: skip
"""One row per observed station-day: the feature matrix and the labels of every target. Missing is null."""


def station_grid(stations: pa.Table) -> StationGrid:
    """The grid of a stored station catalogue."""
    return StationGrid.from_stations(stations_of(stations))


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


def feature_table(
    year: str, matrix: FeatureMatrix, grid: StationGrid, observed: Mapping[str, NDArray[Any]]
) -> pa.Table:
    """Features and labels of one year as FEATURES_SCHEMA; `observed` reaches the day after the last row's."""
    names = pa.array(grid.ids, pa.string())
    columns: list[pa.Array] = [
        pa.repeat(pa.scalar(year), len(matrix)),
        names.take(pa.array(matrix.station_index)),
        pa.array(matrix.day).cast(pa.date32()),
    ]
    columns += [pa.array(values, mask=np.isnan(values)) for values in np.ascontiguousarray(matrix.values.T)]
    columns += [
        pa.array(labels(target, matrix.station_index, matrix.day, observed), from_pandas=True)
        for target in TARGETS.values()
    ]
    return pa.Table.from_arrays(columns, schema=FEATURES_SCHEMA)


def training_columns(target: ForecastTarget) -> tuple[str, ...]:
    """The columns of the stored features that training, exams and forecasts of a target read."""
    return ("station", "day", *feature_names(), label_column(target.name))


def training_data(batches: Iterable[pa.RecordBatch], rows: int, target: ForecastTarget) -> TrainingData:
    """Stored features as one matrix, filled batch by batch so that they are never held twice.

    `batches` have the `training_columns` of the target and `rows` rows together; their order is kept.
    """
    names = feature_names()
    values = np.empty((rows, len(names)), dtype=np.float32)
    day = np.empty(rows, dtype=np.int32)
    label = np.empty(rows, dtype=np.float32)
    stations: list[pa.Array] = []
    start = 0
    for batch in batches:
        here = slice(start, start + batch.num_rows)
        # Turned as a block: column after column would touch each line of the matrix once for every feature.
        values[here] = np.stack([batch.column(name).to_numpy(zero_copy_only=False) for name in names]).T
        day[here] = batch.column("day").cast(pa.int32()).to_numpy()
        label[here] = batch.column(label_column(target.name)).to_numpy(zero_copy_only=False)
        stations.append(batch.column("station"))
        start = here.stop
    station = pa.chunked_array(stations, pa.string())
    ids = pc.unique(station).sort()
    return TrainingData(
        station_ids=tuple(ids.to_pylist()),
        station_index=pc.index_in(station, value_set=ids).to_numpy().astype(np.int32),
        day=day,
        values=values,
        labels=label,
        feature_names=tuple(names),
        feature_version=FEATURE_VERSION,
    )


def first_rows(data: TrainingData, count: int) -> TrainingData:
    """The first rows, as views: nothing is copied."""
    return replace(
        data,
        station_index=data.station_index[:count],
        day=data.day[:count],
        values=data.values[:count],
        labels=data.labels[:count],
    )
