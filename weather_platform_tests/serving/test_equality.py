"""By HTTP comes what the batch says, bit for bit: one by one, in batches, from sent and from stored observations."""

import struct
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from weather_platform.assets.forecasts import forecast_rows
from weather_platform.domain.feature_table import training_columns, training_data
from weather_platform.domain.features import HISTORY_DAYS
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.targets import TARGETS
from weather_platform.serving.contract import ARROW, PARQUET
from weather_platform_tests.e2e.homes import MadeHome

STATION_DAYS = 1_000
DAYS = 84
"""Newest days with twelve stations each."""
SENT = ["station", "day", *(c.name for c in OBSERVATION_COLUMNS)]

Key = tuple[str, date]


@pytest.fixture(scope="module")
def observations(served_home: MadeHome) -> pa.Table:
    """The observed station-days of the newest days, and of HISTORY_DAYS before."""
    table = served_home.lake.read("observations").select(SENT)
    first = pc.max(table["day"]).as_py() - timedelta(days=DAYS + HISTORY_DAYS)
    return table.filter(pc.greater(table["day"], first)).sort_by([("day", "ascending"), ("station", "ascending")])


@pytest.fixture(scope="module", params=list(TARGETS))
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def expected(served_home: MadeHome, observations: pa.Table, target: str) -> Mapping[Key, tuple[Any, ...]]:
    """What the batch says of the newest days, by the code of its asset."""
    registry, spec = served_home.registry, TARGETS[target]
    model = registry.production(target)
    table = served_home.lake.read("features").select(training_columns(spec))
    first = pc.max(table["day"]).as_py() - timedelta(days=DAYS)
    table = table.filter(pc.greater(table["day"], first))
    rows = training_data(table.to_batches(), table.num_rows, spec)
    said = forecast_rows(spec, rows, registry.ready(model), model, "run", served_home.settings.now())
    assert said.num_rows >= STATION_DAYS
    stored = served_home.database.forecasts(target, date.min, date.max, model_version=model.version)
    by_key = {(row["station"], row["day"]): bits(row, "value_low", "value_high") for row in said.to_pylist()}
    kept = {(row["station"], row["day"]): bits(row, "value_low", "value_high") for row in stored.to_pylist()}
    assert kept
    assert {key: by_key[key] for key in kept} == kept
    return by_key


def bits(row: Mapping[str, Any], low: str = "low", high: str = "high") -> tuple[Any, ...]:
    """Everything a forecast says, numbers as their bits."""
    numbers = (row["probability"], row["value"], row[low], row[high])
    return (*(None if n is None else struct.pack("<d", n) for n in numbers), row["label"], row["kind"])


def by_key(rows: Sequence[Mapping[str, Any]]) -> dict[Key, tuple[Any, ...]]:
    """Forecasts of an answer by station and day."""
    found = {}
    for row in rows:
        day = row["day"] if isinstance(row["day"], date) else date.fromisoformat(row["day"])
        found[row["station"], day] = bits(row)
    return found


def as_json(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "day": row["day"].isoformat()} for row in rows]


def newest(observations: pa.Table) -> pa.Table:
    first = pc.max(observations["day"]).as_py() - timedelta(days=DAYS)
    return observations.filter(pc.greater(observations["day"], first))


def test_a_thousand_station_days_one_by_one(
    client: httpx.Client, target: str, observations: pa.Table, expected: Mapping[Key, tuple[Any, ...]]
) -> None:
    rows = as_json(newest(observations).slice(0, STATION_DAYS).to_pylist())
    said: dict[Key, tuple[Any, ...]] = {}
    for row in rows:
        observation = {name: value for name, value in row.items() if name not in ("station", "day")}
        body = {"target": target, "station": row["station"], "day": row["day"], "observation": observation}
        answer = client.post("/v1/predict", json=body)
        assert answer.status_code == 200, answer.text
        said |= by_key([answer.json()])
    assert len(said) == STATION_DAYS
    assert said == {key: expected[key] for key in said}


def test_all_of_them_in_one_json_batch(
    client: httpx.Client, target: str, observations: pa.Table, expected: Mapping[Key, tuple[Any, ...]]
) -> None:
    body = {"target": target, "observations": as_json(newest(observations).to_pylist())}
    answer = client.post("/v1/predict/batch", json=body)
    assert answer.status_code == 200, answer.text
    assert by_key(answer.json()["forecasts"]) == expected


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_all_of_them_as_a_table(
    client: httpx.Client,
    target: str,
    observations: pa.Table,
    expected: Mapping[Key, tuple[Any, ...]],
    media_type: str,
) -> None:
    answer = client.post(
        "/v1/predict/batch",
        params={"target": target},
        content=written(newest(observations), media_type),
        headers={"Content-Type": media_type, "Accept": media_type},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    assert by_key(read(answer.content, media_type).to_pylist()) == expected


def test_from_what_is_sent_alone_when_it_brings_its_own_history(
    client: httpx.Client, target: str, observations: pa.Table, expected: Mapping[Key, tuple[Any, ...]]
) -> None:
    answer = client.post(
        "/v1/predict/batch",
        params={"target": target, "use_history": "false"},
        content=written(observations, ARROW),
        headers={"Content-Type": ARROW, "Accept": ARROW},
    )
    assert answer.status_code == 200, answer.text
    said = by_key(read(answer.content, ARROW).to_pylist())
    assert len(said) > len(expected)
    assert {key: said[key] for key in expected} == expected


def test_from_the_stored_observations_alone(
    client: httpx.Client, target: str, expected: Mapping[Key, tuple[Any, ...]]
) -> None:
    for station, day in list(expected)[:: len(expected) // 40]:
        (said,) = client.get(f"/v1/forecast/{station}", params={"date": day.isoformat(), "target": target}).json()[
            "forecasts"
        ]
        assert bits(said) == expected[station, day]
        body = {"target": target, "station": station, "day": day.isoformat()}
        assert bits(client.post("/v1/predict", json=body).json()) == expected[station, day]


def test_one_station_day_with_everything_it_looks_at_in_the_request(
    client: httpx.Client, target: str, observations: pa.Table, expected: Mapping[Key, tuple[Any, ...]]
) -> None:
    for station, day in list(expected)[:: len(expected) // 10]:
        looked_at = observations.filter(
            pc.and_(
                pc.less_equal(observations["day"], pa.scalar(day)),
                pc.greater_equal(observations["day"], pa.scalar(day - timedelta(days=HISTORY_DAYS))),
            )
        )
        rows = as_json(looked_at.to_pylist())
        own = next(row for row in rows if (row["station"], row["day"]) == (station, day.isoformat()))
        body = {
            "target": target,
            "station": station,
            "day": day.isoformat(),
            "observation": {name: value for name, value in own.items() if name not in ("station", "day")},
            "others": [row for row in rows if row is not own],
            "use_history": False,
        }
        answer = client.post("/v1/predict", json=body)
        assert answer.status_code == 200, answer.text
        assert bits(answer.json()) == expected[station, day]


def test_a_changed_observation_changes_the_forecast(
    client: httpx.Client, target: str, expected: Mapping[Key, tuple[Any, ...]]
) -> None:
    (station, day), before = list(expected.items())[-1]
    hot_and_dry = {"temp_3pm_c": 49.0, "humidity_3pm_pct": 1.0}
    body = {"target": target, "station": station, "day": day.isoformat(), "observation": hot_and_dry}
    assert bits(client.post("/v1/predict", json=body).json()) != before


def written(table: pa.Table, media_type: str) -> bytes:
    """A table as a body."""
    sink = pa.BufferOutputStream()
    if media_type == ARROW:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    else:
        pq.write_table(table, sink)
    return bytes(sink.getvalue())


def read(body: bytes, media_type: str) -> pa.Table:
    """The table of an answer."""
    if media_type == PARQUET:
        return pq.read_table(pa.BufferReader(body))
    with pa.ipc.open_stream(body) as stream:
        return stream.read_all()
