"""MLflow's scoring protocol: what clients of `mlflow models serve` send is answered as they expect."""

import json
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from weather_platform.domain.feature_table import training_columns
from weather_platform.domain.targets import TARGETS
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.serving.servers import Server

MODEL = "/models/rain_tomorrow@Production"


@pytest.fixture(scope="module")
def names(client: httpx.Client) -> list[str]:
    """The columns, as a client gets them: from the contract."""
    return list(client.get(f"{MODEL}/contract").json()["feature_names"])


@pytest.fixture(scope="module")
def frame(served_home: MadeHome, names: list[str]) -> pd.DataFrame:
    """Feature rows of the lake, missing values among them."""
    table: pa.Table = served_home.lake.read("features").select(training_columns(TARGETS["rain_tomorrow"]))
    rows = table.slice(table.num_rows - 50).to_pandas()[names].astype("float32")
    assert rows.isna().to_numpy().any()
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def expected(served_home: MadeHome, frame: pd.DataFrame) -> list[float]:
    registry = served_home.registry
    predictor = registry.ready(registry.production("rain_tomorrow"))
    return list(predictor.predict(np.ascontiguousarray(frame.to_numpy(np.float32))).value.tolist())


def test_mlflows_own_client_is_answered_as_it_expects(
    server: Server, frame: pd.DataFrame, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.deployments import PredictionsResponse
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.proto_json_utils import dump_input_data
    from mlflow.utils.rest_utils import http_request

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", server.token())
    creds = get_default_host_creds(server.url)
    assert http_request(creds, f"{MODEL}/ping", "GET").status_code == 200
    for data in (frame, frame.to_numpy()):
        headers = {"Content-Type": "application/json"}
        body = dump_input_data(data)
        answer = http_request(creds, f"{MODEL}/invocations", "POST", extra_headers=headers, data=body)
        assert answer.status_code == 200, answer.text
        found = PredictionsResponse.from_json(answer.text).get_predictions(predictions_format="ndarray")
        assert found.ravel().tolist() == expected


def test_the_forms_that_it_does_not_send_are_read_too(
    client: httpx.Client, frame: pd.DataFrame, expected: list[float]
) -> None:
    records = json.loads(frame.to_json(orient="records", double_precision=15))
    columns = {name: [None if np.isnan(v) else float(v) for v in frame[name]] for name in frame}
    bodies: list[Any] = [
        {"dataframe_records": [{name: columns[name][at] for name in columns} for at in range(len(frame))]},
        {"instances": [[columns[name][at] for name in columns] for at in range(len(frame))]},
        {"inputs": columns},
    ]
    assert len(records) == len(frame)
    for body in bodies:
        answer = client.post(f"{MODEL}/invocations", json=body)
        assert answer.json() == {"predictions": expected}, answer.text[:300]
    as_csv = client.post(
        f"{MODEL}/invocations", content=frame.to_csv(index=False).encode(), headers={"Content-Type": "text/csv"}
    )
    assert as_csv.json() == {"predictions": expected}


def test_which_model_answered_is_in_the_headers(
    client: httpx.Client, frame: pd.DataFrame, served_home: MadeHome
) -> None:
    model = served_home.registry.production("rain_tomorrow")
    answer = client.post(f"{MODEL}/invocations", json={"instances": frame.fillna(0).to_numpy().tolist()})
    assert (answer.headers["x-model-version"], answer.headers["x-model-digest"]) == (str(model.version), model.digest)


def test_its_other_routes_answer(client: httpx.Client) -> None:
    import mlflow

    for route in ("ping", "health"):
        assert client.get(f"{MODEL}/{route}").content == b"\n"
    assert client.get(f"{MODEL}/version").text == mlflow.__version__


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "BAD_REQUEST"),
        (b'{"rows": []}', "application/json", 400, "BAD_REQUEST"),
        (b'{"instances": [[1, 2]]}', "application/json", 400, "BAD_REQUEST"),
        (b"a,b\n1,2\n", "text/csv", 400, "BAD_REQUEST"),
        (b"{}", "text/html", 415, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_as_mlflow_does(
    client: httpx.Client, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = client.post(f"{MODEL}/invocations", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.json()["error_code"] == code
    assert answer.json()["message"]


@pytest.mark.parametrize("name", ["rain_tomorrow@Nothing", "snow_tomorrow@Production", "@", "rain_tomorrow@"])
@pytest.mark.parametrize("route", ["ping", "contract", "version"])
def test_a_model_that_is_not_served_is_404(client: httpx.Client, name: str, route: str) -> None:
    assert client.get(f"/models/{name}/{route}").status_code == 404
