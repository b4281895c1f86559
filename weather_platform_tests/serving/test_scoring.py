"""The tables of MLflow's scoring protocol: what its own client writes is read, everything else is refused by name."""

import io
import json
from typing import Any

import numpy as np
import pandas as pd
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


@pytest.mark.parametrize("form", ["text/csv", "application/vnd.apache.parquet", JSON])
def test_more_rows_than_a_batch_takes_are_refused(form: str) -> None:
    many = pd.DataFrame(np.zeros((MAX_BATCH_ROWS + 1, 3)), columns=list(NAMES))
    body = {"text/csv": many.to_csv(index=False).encode(), JSON: split(many)}.get(form) or parquet(many)
    with pytest.raises(ScoringError, match="10001 rows came"):
        read_rows(body, form, NAMES)
