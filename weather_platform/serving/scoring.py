"""MLflow's scoring protocol: tables of feature rows in, predictions out.

What belongs here: reading the forms that clients of `mlflow models serve` send, and how that server says that it
cannot read one. What does not: routes (`routes`), forecasts (`forecasting`).

The columns are the features of the model's contract, by name in any order or, without names, in the contract's order.
A value that is null or NaN is missing. As MLflow does, further columns are ignored, but there are bounds: a body is
looked at before it is read, as one of a few megabytes can hold millions of rows, columns or names.
"""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic_core import from_json

from weather_platform.serving.contract import JSON, MAX_BATCH_ROWS, PARQUET, RequestRefusedError
from weather_platform.serving.unpacking import parquet_metadata, require_small_pages

CSV = "text/csv"
FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")

MAX_COLUMNS = 1_000
"""Of a table: the features and others that are ignored."""

MAX_TEXTS = 1_000_000
"""Names and other texts of a JSON table. Of features with their names no body holds as many."""

_CSV_LINE_BYTES = 2**16
"""The longest line: pyarrow keeps kilobytes for each column that a line has room for."""

_SPARE = 100

Rows = NDArray[np.float32]


class ScoringError(Exception):
    """A table that cannot be scored; MLflow's server answers it with ``status`` and an error code."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = "BAD_REQUEST" if status == 400 else "INVALID_PARAMETER_VALUE"


def read_rows(body: bytes, content_type: str, names: Sequence[str]) -> Rows:
    """The feature rows of a body, one float32 column per name; ScoringError says what is wrong."""
    media_type, _, parameters = content_type.partition(";")
    charset = parameters.partition("charset=")[2].strip().strip('"').lower() or "utf-8"
    if charset != "utf-8":
        raise ScoringError("the scoring protocol only takes UTF-8", 415)
    match media_type.strip().lower():
        case "application/json":
            rows = _from_json(body, names)
        case "text/csv":
            rows = _from_table(_read_csv(body, names), names)
        case "application/vnd.apache.parquet":
            rows = _from_table(_read_parquet(body, names), names)
        case other:
            raise ScoringError(f"the body may be {JSON}, {CSV} or {PARQUET}, not '{other}'", 415)
    _require_count(len(rows))
    if np.isinf(rows).any():
        raise ScoringError("infinite values cannot be scored")
    return rows


def _require_count(rows: int) -> None:
    if not 1 <= rows <= MAX_BATCH_ROWS:
        raise ScoringError(f"{rows} rows came, and 1 to {MAX_BATCH_ROWS} are scored at once")


def _require_few(body: bytes) -> None:
    """Refuse a JSON body with far more rows, columns or texts than a table can have, by its marks."""
    objects = body.count(b"{")
    # A row may be a list, and its index, too.
    if objects + body.count(b"[") > 2 * MAX_BATCH_ROWS + _SPARE:
        raise ScoringError(f"more than {MAX_BATCH_ROWS} rows came, and at most these are scored at once")
    if body.count(b":") > objects * MAX_COLUMNS + _SPARE:
        raise ScoringError(f"a table has at most {MAX_COLUMNS} columns")
    if body.count(b'"') > 2 * MAX_TEXTS:
        raise ScoringError(f"more than {MAX_TEXTS} names and texts came; send names once, as dataframe_split does")


def _from_json(body: bytes, names: Sequence[str]) -> Rows:
    _require_few(body)
    try:
        content = from_json(body)  # takes NaN, as the clients write it
    except ValueError as error:
        raise ScoringError(f"Ensure that input is a valid JSON formatted string. Error: {error}") from None
    if not isinstance(content, dict):
        raise ScoringError(f"The input must be a JSON dictionary with exactly one of the input fields {FORMS}")
    if content.get("params"):
        raise ScoringError("these models take no params")
    found = [form for form in FORMS if form in content]
    if len(found) != 1:
        raise ScoringError(
            f"The input must be a JSON dictionary with exactly one of the input fields {FORMS}. "
            f"Received dictionary with input fields: {sorted(content)[:10]}"
        )
    data = content[found[0]]
    match found[0], data:
        case "dataframe_split", {"data": list(cells), **others}:
            if others.keys() - {"columns", "index"}:
                raise ScoringError("dataframe_split has data and optionally columns and index, nothing else")
            columns = others.get("columns")
            return _matrix(cells, names) if columns is None else _by_name(_split(columns, cells), names)
        case (("dataframe_records" | "instances" | "inputs"), [dict(), *_]):
            return _by_name(_records(data, names), names)
        case (("instances" | "inputs"), list()):
            return _matrix(data, names)
        case "inputs", dict():
            return _by_name(data, names)
    raise ScoringError(f"{found[0]} does not hold a table")


def _records(data: Sequence[Any], names: Sequence[str]) -> dict[str, list[Any]]:
    if not all(isinstance(row, dict) for row in data):
        raise ScoringError("every row must be an object by column")
    return {name: [row.get(name) for row in data] for name in names if any(name in row for row in data)}


def _split(columns: Any, cells: Sequence[Any]) -> dict[str, list[Any]]:
    if isinstance(columns, list) and len(columns) > MAX_COLUMNS:
        raise ScoringError(f"{len(columns)} columns came, and a table has at most {MAX_COLUMNS}")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise ScoringError("columns must be a list of names")
    if not all(isinstance(row, list) and len(row) == len(columns) for row in cells):
        raise ScoringError(f"every row of data must be a list of {len(columns)} values, as there are columns")
    if len(set(columns)) != len(columns):
        raise ScoringError("columns come twice")
    return dict(zip(columns, map(list, zip(*cells, strict=True)), strict=True)) if cells else {c: [] for c in columns}


def _by_name(columns: Mapping[str, Any], names: Sequence[str]) -> Rows:
    """Float32 rows from columns by name."""
    _require(columns, names)
    length = len(columns[names[0]]) if isinstance(columns[names[0]], list) else 0
    _require_count(length)
    rows = np.empty((length, len(names)), dtype=np.float32)
    for at, name in enumerate(names):
        rows[:, at] = _floats(columns[name], name, length)
    return rows


def _require(columns: Mapping[str, Any], names: Sequence[str]) -> None:
    if absent := [name for name in names if name not in columns]:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise ScoringError(
            f"Model is missing inputs {absent[:5]}{more}; the route `contract` of the model lists its feature_names"
        )


def _require_once(columns: Sequence[str], names: Sequence[str]) -> None:
    """Refuse columns of which one of these is missing, or there twice."""
    times = Counter(columns)
    _require(times, names)
    for name in names:
        if times[name] > 1:
            raise ScoringError(f"{name}: the column comes twice")


def _floats(values: Any, name: str, length: int) -> NDArray[np.float64]:
    if not isinstance(values, list) or len(values) != length:
        raise ScoringError(f"{name}: the columns must be lists of one length")
    if any(value.__class__ not in _NUMBERS for value in values):
        raise ScoringError(f"{name}: the values must be numbers or null")
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        raise ScoringError(f"{name}: a number is too large") from None


_NUMBERS = frozenset({float, int, type(None)})


def _matrix(rows: Sequence[Any], names: Sequence[str]) -> Rows:
    """Float32 rows from unnamed cells in the order of the contract."""
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        raise ScoringError(f"every row must be a list of {len(names)} values, in the order of the contract")
    return (
        _by_name(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), names)
        if rows
        else np.empty((0, len(names)), np.float32)
    )


def _read_csv(body: bytes, names: Sequence[str]) -> pa.Table:
    _require_header(body, names)
    missing = ["", "NA", "NaN", "nan", "null"]
    batches: list[pa.RecordBatch] = []
    try:
        with pyarrow.csv.open_csv(
            BytesIO(body),
            read_options=pyarrow.csv.ReadOptions(block_size=_CSV_LINE_BYTES, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                null_values=missing,
                strings_can_be_null=True,
                include_columns=list(names),
                column_types=dict.fromkeys(names, pa.float64()),
            ),
        ) as reader:
            rows = 0
            for batch in reader:
                rows += batch.num_rows
                if rows > MAX_BATCH_ROWS:
                    raise ScoringError(f"more than {MAX_BATCH_ROWS} rows came, and at most these are scored at once")
                batches.append(batch)
            return pa.Table.from_batches(batches, schema=reader.schema)
    except (pa.ArrowException, ValueError) as error:
        raise ScoringError(f"the body cannot be read as CSV: {_first_line(error)}") from None


def _require_header(body: bytes, names: Sequence[str]) -> None:
    """Refuse a CSV body whose columns are too many, not those of the model, or there twice."""
    begun = body[:_CSV_LINE_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    line = (begun.splitlines() or [b""])[0]
    if line.count(b",") >= MAX_COLUMNS:
        raise ScoringError(f"{line.count(b',') + 1} columns came, and a table has at most {MAX_COLUMNS}")
    try:
        found = next(csv.reader([line.decode()]), [])
    except (csv.Error, ValueError) as error:
        raise ScoringError(f"the body cannot be read as CSV: {_first_line(error)}") from None
    _require_once(found, names)


def _read_parquet(body: bytes, names: Sequence[str]) -> pa.Table:
    try:
        about = parquet_metadata(body)
        with pq.ParquetFile(pa.BufferReader(body), metadata=about) as file:
            _require_once(file.schema_arrow.names, names)
            if file.metadata.num_rows > MAX_BATCH_ROWS:
                raise ScoringError(
                    f"{file.metadata.num_rows} rows came, and at most {MAX_BATCH_ROWS} are scored at once"
                )
            require_small_pages(body)
            return file.read(columns=list(names), use_threads=False)
    except RequestRefusedError as refused:
        raise ScoringError(refused.detail) from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ScoringError(f"the body cannot be read as a Parquet file: {_first_line(error)}") from None


def _from_table(table: pa.Table, names: Sequence[str]) -> Rows:
    _require_count(table.num_rows)
    rows = np.empty((table.num_rows, len(names)), dtype=np.float32)
    for at, name in enumerate(names):
        column = table[name]
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
            raise ScoringError(f"{name}: the values must be numbers or null, not {column.type}")
        # Not safe: an integer is the nearest float, as in the other forms.
        rows[:, at] = column.cast(pa.float64(), safe=False).to_numpy()
    return rows


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
