"""The tables of MLflow's scoring protocol: what its own client writes is read, everything else is refused by name."""

import io
import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_platform.serving.contract import MAX_BATCH_ROWS
from weather_platform.serving.scoring import ScoringError, read_rows

NAMES = ("temp", "rain", "wind")
ROWS = pd.DataFrame([[1.5, 2.0, 3.25], [4.0, np.nan, 6.0]], columns=list(NAMES))
EXPECTED = ROWS.to_numpy(dtype=np.float32)
JSON = "application/json"


def split(frame: pd.DataFrame) -> bytes:
    """As MLflow's client writes a frame, with NaN for what is missing."""
    return json.dumps({"dataframe_split": frame.to_dict(orient="split")}).encode()


def parquet(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records"))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (split(ROWS), JSON),
        (split(ROWS[["wind", "temp", "rain"]]), "application/json; charset=utf-8"),
        (json.dumps({"dataframe_split": {"data": ROWS.values.tolist()}}).encode(), JSON),
        (json.dumps({"dataframe_records": records(ROWS)}).encode(), JSON),
        (json.dumps({"instances": records(ROWS)}).encode(), JSON),
        (json.dumps({"instances": ROWS.values.tolist()}).encode(), JSON),
        (json.dumps({"inputs": ROWS.to_dict(orient="list")}).encode(), JSON),
        (json.dumps({"inputs": records(ROWS)}).encode(), JSON),
        (json.dumps({"inputs": ROWS.values.tolist(), "params": {}}).encode(), JSON),
        (ROWS.to_csv(index=False).encode(), "text/csv"),
        (ROWS.assign(more=1).to_csv().encode(), "text/csv; charset=UTF-8"),
        (parquet(ROWS), "application/vnd.apache.parquet"),
        (parquet(ROWS.assign(more="x")[["more", "wind", "rain", "temp"]]), "application/vnd.apache.parquet"),
    ],
)
def test_each_form_gives_the_same_rows(body: bytes, content_type: str) -> None:
    rows = read_rows(body, content_type, NAMES)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, EXPECTED)


def test_what_the_client_of_mlflow_writes_is_read() -> None:
    from mlflow.utils.proto_json_utils import dump_input_data

    for data in (ROWS, ROWS.to_numpy(), ROWS.to_numpy().tolist()):
        np.testing.assert_array_equal(read_rows(dump_input_data(data).encode(), JSON, NAMES), EXPECTED)


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", "1", "{}", '{"instances": [[1,2,3]], "inputs": [[1,2,3]]}', '{"rows": [[1,2,3]]}',
        '{"dataframe_split": []}', '{"dataframe_split": {"columns": ["temp"]}}', '{"dataframe_records": {}}',
        '{"dataframe_split": {"columns": ["temp","rain"], "data": [[1,2]]}}',
        '{"dataframe_split": {"columns": ["temp","rain","wind"], "data": [[1,2]]}}',
        '{"dataframe_split": {"columns": ["temp","rain","wind","wind"], "data": [[1,2,3,4]]}}',
        '{"dataframe_split": {"columns": 3, "data": [[1,2,3]]}}', '{"dataframe_split": {"data": [[1,2,3]], "x": 1}}',
        '{"dataframe_split": {"data": []}}', '{"dataframe_records": []}', '{"instances": []}', '{"inputs": {}}',
        '{"instances": [[1,2]]}', '{"instances": [[1,2,"3"]]}', '{"instances": [[1,2,true]]}', '{"instances": [1,2,3]}',
        '{"instances": [[1,2,Infinity]]}', '{"instances": [[1,2,1e99]]}', '{"instances": [{"temp": 1}]}',
        '{"inputs": {"temp": [1], "rain": [2], "wind": [3, 4]}}', '{"inputs": {"temp": 1, "rain": 2, "wind": 3}}',
        '{"inputs": [{"temp": 1, "rain": 2, "wind": 3}, 5]}', '{"inputs": null}', '{"dataframe_records": [[1,2,3]]}',
        '{"instances": [[1,2,3]], "params": {"a": 1}}', f'{{"instances": [[1,2,{"9" * 400}]]}}',
    ],
)  # fmt: skip
def test_json_that_is_no_table_of_these_features_is_refused(content: str) -> None:
    with pytest.raises(ScoringError) as refused:
        read_rows(content.encode(), JSON, NAMES)
    assert (refused.value.status, refused.value.error_code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "text/csv", 400),
        (b"temp,rain\n1,2\n", "text/csv", 400),
        (b"temp,rain,wind\n1,2,much\n", "text/csv", 400),
        (b"temp,rain,wind\n1,2\n", "text/csv", 400),
        (b"temp,rain,wind\n", "text/csv", 400),
        (b"\xff\xfe\x00", "text/csv", 400),
        (b"PAR1", "application/vnd.apache.parquet", 400),
        (parquet(ROWS[["temp"]]), "application/vnd.apache.parquet", 400),
        (parquet(ROWS.astype(str)), "application/vnd.apache.parquet", 400),
        (b"{}", "application/xml", 415),
        (b"{}", "", 415),
        (b"{}", "application/json; charset=latin-1", 415),
    ],
)
def test_other_bodies_that_cannot_be_scored_are_refused(body: bytes, content_type: str, status: int) -> None:
    with pytest.raises(ScoringError) as refused:
        read_rows(body, content_type, NAMES)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("text/csv", "more than 10000 rows came"),
        ("application/vnd.apache.parquet", "10001 rows came"),
        (JSON, "10001 rows came"),
    ],
)
def test_more_rows_than_a_batch_takes_are_refused(form: str, said: str) -> None:
    many = pd.DataFrame(np.zeros((MAX_BATCH_ROWS + 1, 3)), columns=list(NAMES))
    body = {"text/csv": many.to_csv(index=False).encode(), JSON: split(many)}.get(form) or parquet(many)
    with pytest.raises(ScoringError, match=said):
        read_rows(body, form, NAMES)


@pytest.mark.parametrize("form", ["text/csv", "application/vnd.apache.parquet", JSON])
def test_as_many_rows_as_a_batch_takes_are_read_whatever_other_columns_and_index_they_have(form: str) -> None:
    rows = np.random.default_rng(1).normal(size=(MAX_BATCH_ROWS, 3)).astype(np.float32)
    many = pd.DataFrame(rows, columns=list(NAMES)).assign(**{f"more_{n}": "x" for n in range(5)})
    many.index = many.index.astype(str)
    body = {"text/csv": many.to_csv().encode(), JSON: split(many)}.get(form) or parquet(many)
    np.testing.assert_array_equal(read_rows(body, form, NAMES), rows)


@pytest.mark.parametrize(
    ("body", "form", "said"),
    [
        (("," * 2**19 + "\n") * 2, "text/csv", "columns came, and a table has at most 1000"),
        ("temp,rain,wind\n" + "," * 2**19 + "\n", "text/csv", "cannot be read as CSV"),
        ("temp,rain,wind,temp\n1,2,3,4\n", "text/csv", "temp: the column comes twice"),
        ('"temp,rain,wind\n1,2,3\n', "text/csv", "Model is missing inputs"),
        (json.dumps({"instances": [{}] * 30_000}), JSON, "more than 10000 rows came"),
        (json.dumps({"dataframe_split": {"data": [[]] * 30_000}}), JSON, "more than 10000 rows came"),
        (json.dumps({"params": {str(n): 0 for n in range(5_000)}}), JSON, "at most 1000 columns"),
        (json.dumps({"inputs": {"temp": [0] * 20_000, "rain": [], "wind": []}}), JSON, "20000 rows came"),
        (json.dumps({"inputs": {"temp": ["0"] * 1_000_001, "rain": [], "wind": []}}), JSON, "names and texts came"),
        (json.dumps({"dataframe_split": {"columns": ["a"] * 2_000, "data": []}}), JSON, "2000 columns came"),
    ],
)  # fmt: skip
def test_a_body_that_would_be_far_more_than_a_table_is_refused_before_it_is_read(
    body: str, form: str, said: str
) -> None:
    with pytest.raises(ScoringError, match=said):
        read_rows(body.encode(), form, NAMES)


def test_names_that_come_with_more_values_than_a_body_of_features_has_are_refused() -> None:
    row = "{" + ",".join(f'"{n}":0' for n in range(900)) + "}"
    with pytest.raises(ScoringError, match="names and texts came"):
        read_rows(f'{{"instances":[{",".join([row] * 1_200)}]}}'.encode(), JSON, NAMES)


@pytest.mark.parametrize("number", [2**53 + 1, -(2**60) - 1, 2**63 + 5, 10**25])
def test_an_integer_that_no_float_holds_is_the_nearest_float_in_every_form(number: int) -> None:
    row = [number, 2, 3]
    kind = pa.uint64() if number > 0 else pa.int64()
    bodies = [
        (json.dumps({"instances": [row]}).encode(), JSON),
        (f"temp,rain,wind\n{number},2,3\n".encode(), "text/csv"),
    ]
    if number < 2**64:
        sink = io.BytesIO()
        pq.write_table(pa.table({"temp": pa.array([number], kind), "rain": [2], "wind": [3]}), sink)
        bodies.append((sink.getvalue(), "application/vnd.apache.parquet"))
    for body, form in bodies:
        np.testing.assert_array_equal(read_rows(body, form, NAMES), np.array([row], dtype=np.float32))
