"""Station-days as columns: the same from JSON, Arrow and Parquet, and each fault with its row and column."""

import io
import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.serving.batch_json import read_batch
from weather_platform.serving.contract import MAX_BATCH_ROWS, MAX_STATION_CHARACTERS, RequestRefusedError, limits_of
from weather_platform.serving.rows import StationDays, UnknownStationError, from_arrow, from_json, from_parquet

POSITIONS = {"Adelaide": 0, "Hobart": 1, "Sydney": 2}
DAY = date(2015, 6, 30)

Columns = dict[str, Any]


def arrow_body(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table, max_chunksize=7)
    return bytes(sink.getvalue())


def parquet_body(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=7)
    return sink.getvalue()


def read_arrow(table: pa.Table) -> StationDays:
    return from_arrow(arrow_body(table), POSITIONS)


def read_parquet(table: pa.Table) -> StationDays:
    return from_parquet(parquet_body(table), POSITIONS)


def read_rows(rows: list[dict[str, Any]]) -> StationDays:
    body = {"target": "rain_tomorrow", "observations": rows}
    return from_json(read_batch(json.dumps(body, default=date.isoformat).encode()).observations, POSITIONS)


machines = pytest.mark.parametrize("read", [read_arrow, read_parquet])


def columns(**changes: Any) -> Columns:
    """Three station-days; a change to None takes the column away."""
    made = {"station": ["Hobart", "Sydney", "Hobart"], "day": [DAY, DAY, date(2015, 6, 29)]} | changes
    return {name: values for name, values in made.items() if values is not None}


def faults(read: Callable[[pa.Table], StationDays], table: pa.Table, status: int = 422) -> dict[str, str]:
    with pytest.raises(RequestRefusedError) as refused:
        read(table)
    assert refused.value.status == status
    return {fault.path: fault.message for fault in refused.value.faults}


def test_json_rows_become_columns_that_know_what_was_named() -> None:
    days = read_rows(
        [
            {"station": "Hobart", "day": DAY, "rainfall_mm": 1.5, "rain_today": True},
            {"station": "Sydney", "day": DAY, "rainfall_mm": None},
            {"station": "Hobart", "day": date(2015, 6, 29)},
        ]
    )
    assert set(days.sent) == {"station_index", "day", "rainfall_mm", "rain_today"}
    assert days.station_index.tolist() == [1, 2, 1]
    assert days.day.astype("datetime64[D]").tolist() == [DAY, DAY, date(2015, 6, 29)]
    np.testing.assert_array_equal(days.sent["rainfall_mm"], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(days.sent["rain_today"], [1.0, np.nan, np.nan])
    assert {name: named.tolist() for name, named in days.named.items()} == {
        "rainfall_mm": [True, True, False],
        "rain_today": [True, False, False],
    }


@machines
def test_a_table_gives_the_same_columns_as_the_same_rows_in_json(read: Callable[[pa.Table], StationDays]) -> None:
    rng = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []
    for number in range(20):
        row: dict[str, Any] = {"station": "Hobart", "day": date.fromordinal(DAY.toordinal() - number)}
        for column in OBSERVATION_COLUMNS:
            limits = limits_of(column)
            value = bool(rng.integers(2)) if limits is None else float(rng.uniform(*limits))
            row[column.name] = None if rng.random() < 0.2 else value
        rows.append(row)
    by_json, by_table = read_rows(rows), read(pa.Table.from_pylist(rows))
    assert by_table.stations == by_json.stations
    assert set(by_table.sent) == set(by_json.sent)
    for name, values in by_json.sent.items():
        assert by_table.sent[name].tobytes() == values.tobytes()
        assert by_table.sent[name].dtype == values.dtype
    assert by_table.named == by_json.named == {}


@machines
def test_floats_integers_dictionaries_nulls_and_nan_are_read(read: Callable[[pa.Table], StationDays]) -> None:
    table = pa.table(
        {
            "station": pa.array(["Hobart", "Sydney", "Hobart"]).dictionary_encode(),
            "day": pa.array([DAY, DAY, date(2015, 6, 29)]),
            "rainfall_mm": pa.array([1, 2, None], pa.int32()),
            "temp_9am_c": pa.array([1.5, float("nan"), None], pa.float32()),
            "rain_today": pa.array([True, None, False]),
            "temp_3pm_c": pa.nulls(3),
        }
    )
    days = read(table)
    assert days.stations == ["Hobart", "Sydney", "Hobart"]
    np.testing.assert_array_equal(days.sent["rainfall_mm"], [1, 2, np.nan])
    np.testing.assert_array_equal(days.sent["temp_9am_c"], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(days.sent["rain_today"], [1, np.nan, 0])
    np.testing.assert_array_equal(days.sent["temp_3pm_c"], [np.nan] * 3)


@machines
@pytest.mark.parametrize("column", [c for c in OBSERVATION_COLUMNS if c.kind != "flag"], ids=lambda c: c.name)
def test_each_value_beyond_its_range_is_named_by_row_and_column(
    column: Any, read: Callable[[pa.Table], StationDays]
) -> None:
    low, high = limits_of(column) or (0, 0)
    assert len(read(pa.table(columns(**{column.name: [low, high, None]})))) == 3
    wrong = pa.table(columns(**{column.name: [low - 0.001, high, float("inf")]}))
    assert list(faults(read, wrong)) == [f"observations.0.{column.name}", f"observations.2.{column.name}"]


@machines
@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"station": None}, "observations.station"),
        ({"day": None}, "observations.day"),
        ({"station": [1, 2, 3]}, "observations.station"),
        ({"day": ["2015-06-30"] * 3}, "observations.day"),
        ({"day": [datetime(2015, 6, 30)] * 3}, "observations.day"),  # noqa: DTZ001
        ({"station": ["Hobart", None, "Sydney"]}, "observations.1.station"),
        ({"day": [DAY, None, DAY]}, "observations.1.day"),
        ({"day": [DAY, date(1, 1, 1), date(2015, 6, 29)]}, "observations.1.day"),
        ({"station": ["Hobart", "", "Hobart"]}, "observations.station"),
        ({"station": ["Hobart", "x" * (MAX_STATION_CHARACTERS + 1), "Hobart"]}, "observations.station"),
        ({"station": ["Hobart", "Atlantis", "Hobart"]}, "observations.1.station"),
        ({"station": ["Hobart", "Hobart", "Sydney"]}, "observations.1"),
        ({"snow_mm": [1.0, 2.0, 3.0]}, "observations.snow_mm"),
        ({"rainfall_mm": ["1", "2", "3"]}, "observations.rainfall_mm"),
        ({"rainfall_mm": [True, False, True]}, "observations.rainfall_mm"),
        ({"rain_today": [1, 0, 1]}, "observations.rain_today"),
    ],
)
def test_a_faulty_column_or_cell_is_named(changes: Columns, path: str, read: Callable[[pa.Table], StationDays]) -> None:
    assert list(faults(read, pa.table(columns(**changes)))) == [path]


@machines
@pytest.mark.parametrize("number", [2**53 + 1, -(2**60) - 1, 2**63 + 5])
def test_an_integer_that_no_float_holds_is_out_of_range(number: int, read: Callable[[pa.Table], StationDays]) -> None:
    kind = pa.uint64() if number > 0 else pa.int64()
    table = pa.table(columns(rainfall_mm=pa.array([1, number, None], kind)))
    assert list(faults(read, table)) == ["observations.1.rainfall_mm"]


@machines
def test_columns_that_come_twice_or_are_not_of_the_contract_are_named_unless_they_are_very_many(
    read: Callable[[pa.Table], StationDays],
) -> None:
    made = pa.table(columns(rainfall_mm=[1.0, 2.0, 3.0]))
    twice = pa.Table.from_arrays([*made.columns, made["rainfall_mm"]], names=[*made.schema.names, "rainfall_mm"])
    assert faults(read, twice) == {"observations.rainfall_mm": "the column comes twice"}
    wide = pa.table(columns(**{f"snow_{n}": [1.0, 2.0, 3.0] for n in range(90)}))
    assert len(faults(read, wide)) == 90
    wider = pa.table(columns(**{f"snow_{n}": [1.0, 2.0, 3.0] for n in range(200)}))
    assert faults(read, wider) == {
        "observations": f"202 columns came, and the contract has {len(OBSERVATION_COLUMNS) + 2}"
    }


@machines
def test_a_table_without_rows_or_with_too_many_is_refused(read: Callable[[pa.Table], StationDays]) -> None:
    rows = pa.table({"station": ["Hobart"] * (MAX_BATCH_ROWS + 1), "day": [DAY] * (MAX_BATCH_ROWS + 1)})
    assert list(faults(read, rows)) == ["observations"]
    assert list(faults(read, rows.slice(0, 0))) == ["observations"]


@pytest.mark.parametrize("read", [from_arrow, from_parquet])
@pytest.mark.parametrize("body", [b"", b"nothing", b"PAR1", b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\0" * 16])
def test_bytes_that_are_no_table_are_400(body: bytes, read: Callable[..., StationDays]) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        read(body, POSITIONS)
    assert refused.value.status == 400


@pytest.mark.parametrize("cut", [10, 100, 300, -1])
def test_a_table_that_was_cut_off_is_400(cut: int) -> None:
    table = pa.table(columns(rainfall_mm=[1.0, 2.0, 3.0]))
    for body, read in ((arrow_body(table), from_arrow), (parquet_body(table), from_parquet)):
        if cut == -1 and read is from_arrow:
            continue  # the end mark of a stream may be missing
        with pytest.raises(RequestRefusedError) as refused:
            read(body[:cut], POSITIONS)
        assert refused.value.status == 400


def test_unknown_stations_are_told_from_other_faults() -> None:
    rows: list[dict[str, Any]] = [{"station": name, "day": DAY} for name in ("Hobart", "Atlantis", "Sydney", "Utopia")]
    with pytest.raises(UnknownStationError) as refused:
        read_rows(rows)
    assert [fault.path for fault in refused.value.faults] == ["observations.1.station", "observations.3.station"]
    with pytest.raises(RequestRefusedError, match="1 field is not") as refused_twice:
        read_rows([rows[0], rows[2], rows[0]])
    assert not isinstance(refused_twice.value, UnknownStationError)
    assert refused_twice.value.faults[0].message == "Hobart on 2015-06-30 comes twice"
