"""Tables that would unpack to far more than they are: refused before the memory is spent; all usual ones are read."""

import io
import random
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weather_platform.serving import unpacking
from weather_platform.serving.contract import MAX_BATCH_ROWS, RequestRefusedError
from weather_platform.serving.rows import from_arrow, from_parquet
from weather_platform.serving.scoring import ScoringError, read_rows

POSITIONS = {"Hobart": 0, "Sydney": 1}
DAY = date(2015, 6, 30)
USUAL = pa.table(
    {
        "station": ["Hobart", "Sydney", "Hobart"],
        "day": [DAY, DAY, date(2015, 6, 29)],
        "rainfall_mm": [1.0, None, 2.0],
        "rain_today": [True, None, False],
    }
)
LONG_TEXT = "x" * 10_000
"""In every row of a batch it is 100 MB."""


def arrow_body(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def parquet_body(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def with_stations(stations: pa.Array) -> pa.Table:
    return pa.table({"station": stations, "day": [DAY] * len(stations)})


def dictionary(entries: list[str], rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int8)), pa.array(entries))


def views(text: str, rows: int) -> pa.Array:
    """Views of one text."""
    _, view, *texts = pa.array([text], pa.string_view()).buffers()
    return pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(view.to_pybytes()[:16] * rows), *texts])


def growing() -> bytes:
    """A stream whose dictionary is made anew in memory for every batch."""
    schema = pa.schema({"station": pa.dictionary(pa.int32(), pa.string()), "day": pa.date32()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)) as stream:
        for entries in (["Hobart"], ["Hobart", "Sydney"]):
            stations = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(entries))
            stream.write_batch(pa.record_batch([stations, pa.array([DAY])], schema=schema))
    return bytes(sink.getvalue())


def batches(count: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, USUAL.schema) as stream:
        for _ in range(count):
            stream.write_batch(USUAL.to_batches()[0].slice(0, 0))
    return bytes(sink.getvalue())


@pytest.fixture(scope="module")
def bombs() -> Mapping[str, bytes]:
    """Each would be 100 MB or more in memory."""
    long = with_stations(pa.array([LONG_TEXT] * MAX_BATCH_ROWS))
    plain: dict[str, Any] = {"use_dictionary": False, "compression": "none"}
    return {
        "compressed.arrow": arrow_body(long, compression="zstd"),
        "dictionary.arrow": arrow_body(with_stations(dictionary([LONG_TEXT], MAX_BATCH_ROWS))),
        "views.arrow": arrow_body(with_stations(views(LONG_TEXT, MAX_BATCH_ROWS))),
        "compressed.parquet": parquet_body(long, use_dictionary=False, compression="zstd"),
        "dictionary.parquet": parquet_body(with_stations(dictionary([LONG_TEXT], MAX_BATCH_ROWS))),
        "prefixes.parquet": parquet_body(long, column_encoding={"station": "DELTA_BYTE_ARRAY"}, **plain),
    }


def with_peak_mib(read: Callable[[], Any]) -> tuple[Any, float]:
    """What this gives, and how much more memory this process has at the most meanwhile."""
    pa.default_memory_pool().release_unused()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _peak_kib()
    return read(), (_peak_kib() - before) / 1024


def _peak_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_what_would_fill_the_memory_is_refused_before_it_does(bombs: Mapping[str, bytes]) -> None:
    said = {}
    for name, body in bombs.items():
        assert len(body) < 1_000_000
        read = from_arrow if name.endswith(".arrow") else from_parquet
        (said[name], _), mib = with_peak_mib(partial(refusal, read, body))
        assert mib < 20, name
    assert said == {
        "compressed.arrow": 415, "dictionary.arrow": 422, "views.arrow": 422,
        "compressed.parquet": 413, "dictionary.parquet": 422, "prefixes.parquet": 415,
    }  # fmt: skip
    for name in ("compressed.parquet", "prefixes.parquet"):
        _, mib = with_peak_mib(partial(pq.read_table, io.BytesIO(bombs[name])))
        assert mib > 90, "otherwise there is nothing to be refused"


def refusal(read: Callable[..., object], body: bytes) -> tuple[int, str]:
    with pytest.raises(RequestRefusedError) as refused:
        read(body, POSITIONS)
    return refused.value.status, refused.value.detail


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0", "row_group_size": 2}])
def test_every_usual_parquet_file_is_read(compression: str, options: dict[str, Any]) -> None:
    days = from_parquet(parquet_body(USUAL, compression=compression, **options), POSITIONS)
    assert days.stations == USUAL["station"].to_pylist()
    np.testing.assert_array_equal(days.sent["rainfall_mm"], [1.0, np.nan, 2.0])


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int16(), pa.string())])
def test_every_usual_arrow_stream_is_read(kind: pa.DataType) -> None:
    table = USUAL.set_column(0, "station", USUAL["station"].cast(kind))
    assert from_arrow(arrow_body(table), POSITIONS).stations == USUAL["station"].to_pylist()


def test_the_largest_batch_is_read_in_any_form() -> None:
    rows = pa.table(
        {
            "station": ["Hobart"] * MAX_BATCH_ROWS,
            "day": pa.array(np.arange(MAX_BATCH_ROWS, dtype=np.int32) + 5_000).cast(pa.date32()),
            "rainfall_mm": np.random.default_rng(1).uniform(0, 100, MAX_BATCH_ROWS),
        }
    )
    assert len(from_arrow(arrow_body(rows), POSITIONS)) == MAX_BATCH_ROWS
    assert len(from_parquet(parquet_body(rows, compression="zstd"), POSITIONS)) == MAX_BATCH_ROWS


def test_a_stream_of_deltas_or_of_very_many_batches_is_refused_and_a_long_one_is_not() -> None:
    assert refusal(from_arrow, growing()) == (415, "a dictionary of the Arrow stream grows; write it without deltas")
    status, detail = refusal(from_arrow, batches(unpacking.MAX_MESSAGES))
    assert (status, "send larger batches" in detail) == (413, True)
    assert refusal(from_arrow, batches(unpacking.MAX_MESSAGES - 1))[0] == 422, "it is read, and has no rows"


def test_metadata_of_a_megabyte_is_refused_and_less_is_not() -> None:
    for size, is_refused in ((unpacking.MAX_HEAD_BYTES // 4, False), (unpacking.MAX_HEAD_BYTES, True)):
        table = USUAL.replace_schema_metadata({"about": "x" * size})
        for read, body in ((from_arrow, arrow_body(table)), (from_parquet, parquet_body(table))):
            if is_refused:
                assert refusal(read, body)[0] == 413
            else:
                assert len(read(body, POSITIONS)) == 3


def test_rows_are_counted_in_the_row_groups_and_not_only_where_the_footer_sums_them_up() -> None:
    rows = with_stations(pa.array(["Hobart"] * (MAX_BATCH_ROWS + 2)))
    body = parquet_body(rows, row_group_size=5_001)
    unpacking.require_small_pages(parquet_body(rows.slice(2), row_group_size=5_001))
    with pytest.raises(RequestRefusedError, match="more than 10,000 rows"):
        unpacking.require_small_pages(body)


def test_a_scored_parquet_file_has_the_same_limits() -> None:
    numbers = {"a": [1.0] * 3, "b": [LONG_TEXT * 100] * 3}
    body = parquet_body(pa.table(numbers), compression="zstd", use_dictionary=False)
    assert read_rows(body, "application/vnd.apache.parquet", ["a"]).tolist() == [[1.0]] * 3
    numbers["b"] = [LONG_TEXT * 2_500] * 3
    with pytest.raises(ScoringError, match="bytes unpacked"):
        read_rows(
            parquet_body(pa.table(numbers), compression="zstd", use_dictionary=False),
            "application/vnd.apache.parquet", ["a"],
        )  # fmt: skip


@pytest.mark.parametrize(
    ("read", "body"),
    [
        (from_arrow, arrow_body(USUAL.set_column(0, "station", USUAL["station"].dictionary_encode()))),
        (from_parquet, parquet_body(USUAL)),
    ],
)
def test_a_damaged_table_is_read_or_refused_and_never_breaks_anything(
    read: Callable[[bytes, Mapping[str, int]], object], body: bytes
) -> None:
    chance = random.Random(7)
    statuses = set()
    for _ in range(500):
        damaged = bytearray(body)
        for _ in range(chance.choice((1, 2, 4))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 127, 128, 255))
        try:
            read(bytes(damaged), POSITIONS)
            statuses.add(200)
        except RequestRefusedError as refused:
            statuses.add(refused.status)
    assert {200, 400} <= statuses <= {200, 400, 413, 415, 422}


def test_a_dictionary_that_names_nothing_is_a_missing_station() -> None:
    stations = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["Hobart", None]))
    with pytest.raises(RequestRefusedError) as refused:
        from_arrow(arrow_body(with_stations(stations)), POSITIONS)
    assert [fault.path for fault in refused.value.faults] == ["observations.1.station"]
