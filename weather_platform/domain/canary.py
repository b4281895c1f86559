"""The canary: a loaded model must say again, bit for bit, what it said of its golden sample when it was tested.

What belongs here: the sample as a file, and the comparison. What does not: which rows are in it (`training`), where the
file lies, and what follows when the model says something else.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from weather_platform.domain.training import GoldenSample, Predictor
from weather_platform.errors import CanaryError, RegistryError

GOLDEN_FILE = "golden.arrow"
"""What the golden sample is called beside the model file: Arrow's file format, data and nothing else."""

_EXPECTED = "expected"


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """How many rows were compared, how many differ in any bit, and by how much at most."""

    rows: int
    differing: int
    largest_difference: float


def sing(predictor: Predictor, golden: GoldenSample) -> CanaryResult:
    """Forecast the sample as it is asked for, all at once and row by row, and compare the bits with the record."""
    together = predictor.predict(golden.values).value
    alone = np.concatenate([predictor.predict(row[None]).value for row in golden.values])
    found = np.stack((together, alone))
    differs = found.view(np.int64) != golden.expected.view(np.int64)
    apart = np.abs(found - golden.expected)[differs]
    return CanaryResult(len(together), int(np.count_nonzero(differs.any(axis=0))), float(apart.max(initial=0.0)))


def require_reproduction(predictor: Predictor, golden: GoldenSample, name: str) -> CanaryResult:
    """CanaryError unless the model says of its sample what is on record; ``name`` is how the line calls it."""
    result = sing(predictor, golden)
    if result.differing:
        raise CanaryError(
            f"{name} does not reproduce its recorded test predictions ({result.differing} of {result.rows} rows "
            f"differ, by up to {result.largest_difference:.3g})"
        )
    return result


def golden_bytes(golden: GoldenSample, feature_names: tuple[str, ...]) -> bytes:
    """The file. The same sample gives the same bytes."""
    columns = [pa.array(column) for column in golden.values.T]
    table = pa.table([*columns, pa.array(golden.expected)], names=[*feature_names, _EXPECTED])
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def golden_from_bytes(data: bytes, feature_names: tuple[str, ...]) -> GoldenSample:
    """The sample from its file; RegistryError when it holds no row or other columns than the model takes."""
    try:
        table = pyarrow.ipc.open_file(pa.BufferReader(data)).read_all()
        table.validate(full=True)  # the buffers too: the file may come from elsewhere
    except pa.ArrowInvalid as error:
        raise RegistryError(f"{GOLDEN_FILE} is no Arrow file ({error}); train and promote another version") from error
    if table.column_names != [*feature_names, _EXPECTED] or not table.num_rows:
        raise RegistryError(
            f"{GOLDEN_FILE} has {table.num_rows} rows of {table.num_columns} columns and is no sample of this model; "
            "train and promote another version"
        )
    if any(not pa.types.is_float32(kind) for kind in table.schema.types[:-1]) or table.schema.types[-1] != pa.float64():
        raise RegistryError(f"{GOLDEN_FILE} holds other types than numbers; train and promote another version")
    values = np.column_stack([table[name].to_numpy() for name in feature_names])
    return GoldenSample(values.astype(np.float32, copy=False), table[_EXPECTED].to_numpy())
