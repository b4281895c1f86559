"""The quick reader of JSON batches takes only what the contract's own reader takes, and reads it to the same bits."""

import json
import struct
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from weather_platform.domain.observations import OBSERVATION_COLUMNS, Column
from weather_platform.domain.splits import day_number
from weather_platform.serving.batch_json import NOT_SENT, Batch, quickly, read_batch
from weather_platform.serving.contract import (
    BATCH_REQUEST,
    DAY_MAX,
    DAY_MIN,
    MAX_BATCH_ROWS,
    MAX_STATION_CHARACTERS,
    BatchRequest,
    RequestRefusedError,
    limits_of,
    read_json,
    require_few,
)
from weather_platform.serving.rows import from_json

KEYS = '"station": "Hobart", "day": "2015-06-30"'


def body_of(*rows: str, target: str = '"rain_tomorrow"', more: str = "") -> bytes:
    """A batch of rows that are written out."""
    return f'{{"target": {target}, "observations": [{", ".join(rows)}]{more}}}'.encode()


def exactly(value: Any) -> Any:
    """What tells two values apart: their type, and the bits of a float."""
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


def said(batch: Batch) -> Any:
    """All that a batch says."""
    rows = [
        {name: exactly(value) for name, value in asdict(row).items() if value != NOT_SENT} for row in batch.observations
    ]
    return batch.target, rows, batch.use_history


def by_contract(body: bytes) -> BatchRequest:
    """What the contract's own reader reads of a body that is let to it."""
    require_few(body, "observations", MAX_BATCH_ROWS)
    return read_json(BATCH_REQUEST, body)


def said_by_contract(body: bytes) -> Any:
    """All that the contract's own reader reads; None when it refuses."""
    try:
        asked = by_contract(body)
    except RequestRefusedError:
        return None
    rows = [{name: exactly(value) for name, value in row.items()} for row in asked.observations]
    return asked.target, rows, asked.use_history


def refusal(body: bytes, read: Any) -> tuple[int, str, Any]:
    with pytest.raises(RequestRefusedError) as refused:
        read(body)
    return refused.value.status, refused.value.detail, refused.value.faults


FINE_NUMBERS = st.one_of(
    st.sampled_from(
        [
            "null", "0", "-0", "-0.0", "1", "1.0", "7.5", "1e-400", "8E0", "1e+0", "80e-1", "0e999999999", "5e-324",
            "2.4703282292062327e-324", "0." + "0" * 400 + "1", "1" + "0" * 50 + "e-50", "0.30000000000000004",
            "0.1000000000000000055511151231257827021181583404541015625", "9007199254740993e-15",
            "12345678901234567890e-19",
        ]
    ),
    st.floats(0, 8).map(repr),
    st.floats(0, 8).map(lambda value: f"{value:.25e}"),
)  # fmt: skip
FINE_NUMBER_NAMES = [f'"{c.name}"' for c in OBSERVATION_COLUMNS if (limits := limits_of(c)) and limits[0] <= 0]
FINE_FIELDS = st.tuples(st.sampled_from(FINE_NUMBER_NAMES), FINE_NUMBERS) | st.tuples(
    st.just('"rain_today"'), st.sampled_from(["true", "false", "null"])
)
FINE_STATIONS = st.sampled_from(
    ["Hobart", " Hobart", "x" * MAX_STATION_CHARACTERS, "é" * MAX_STATION_CHARACTERS, "H\\u006fbart", "\\/", "\\u0000"]
)
ODD_KEYS = st.sampled_from(
    [
        '"station"', '"st\\u0061tion"', '"day"', '"rain_t\\u006fday"', '"rain_today"', '"rainfall_mm"', '"snow_mm"',
        '"target"', '"observations"', '"use_history"', '""', "day", "1",
    ]
)  # fmt: skip
ODD_VALUES = st.one_of(
    st.sampled_from(
        [
            "-1", "1e400", "-1e400", "1.", ".5", "+1", "01", "-", "NaN", "Infinity", "-Infinity", "true", "null", '"1"',
            "[]", "{}", "[1]", "1_0", "0x1", "1e1.0", "9" * 400, "99999999999999999999999", "1 2", "[" * 300,
        ]
    ),
    st.sampled_from(
        [
            "", "x" * (MAX_STATION_CHARACTERS + 1), "é" * (MAX_STATION_CHARACTERS + 1), "\\ud800", "\\udc00", "\x00",
            "\\ud83d\\ude00", "\t", "\\x", "\ud800", "\udcff", "2015-02-30", "2016-02-29", "2015-6-30", "20150630",
            "2015-06-30T00:00:00", "2015-06-30 ", "2015-06-30Z", "+2015-06-30", "0000-01-01", "10000-01-01",
            "1434067200", "2015/06/30", "2015-06-3\\u0030", "2015-W01-1", str(DAY_MIN), str(DAY_MAX), str(date.min),
        ]
    ).map('"{}"'.format),
    st.integers(-(2**70), 2**70).map(str),
    st.text("0123456789+-.eE", min_size=1, max_size=8),
    FINE_NUMBERS,
)  # fmt: skip
SPACES = st.sampled_from(["", " ", "\n\t\r", "\f", "\u00a0", "\ufeff", "/**/"])
Fields = list[tuple[str, str]]


def joined(fields: Fields, space: str = "") -> str:
    return f"{space}{{{','.join(f'{space}{key}:{space}{value}' for key, value in fields)}}}{space}"


@st.composite
def odd_bodies(draw: st.DrawFn) -> bytes:
    """A right body, in which up to two fields are added, changed or taken away."""
    rows: list[Fields] = []
    for _ in range(draw(st.integers(1, 2))):
        station, day = draw(FINE_STATIONS), draw(st.dates(DAY_MIN, DAY_MAX))
        rows.append([('"station"', f'"{station}"'), ('"day"', f'"{day}"'), *draw(st.lists(FINE_FIELDS, max_size=3))])
    top: Fields = [('"target"', '"rain_t\\u006fmorrow"'), ('"observations"', "")]
    for _ in range(draw(st.integers(0, 2))):
        fields = draw(st.sampled_from([*rows, *rows, top]))
        at = draw(st.integers(0, len(fields)))
        kind = draw(st.sampled_from(["add", "change", "take away"]))
        here = fields[at : at + 1]
        if kind == "add":
            fields.insert(at, (draw(ODD_KEYS), draw(ODD_VALUES)))
        elif here and kind == "change":
            fields[at] = here[0][0], draw(ODD_VALUES)
        elif here:
            del fields[at]
    written = f"[{','.join(map(joined, rows))}]"
    text = joined([(key, value or written) for key, value in top], draw(st.just("") | SPACES))
    return text.encode(errors="surrogatepass")


RIGHT = body_of(
    f'{{{KEYS}, "rainfall_mm": 1.5, "rain_today": true, "temp_3pm_c": -1e-1, "pressure_3pm_hpa": 1013}}',
    '{"station": "Sydn\\u0065y", "day": "2015-06-29", "rainfall_mm": null, "temp_3pm_c": 7.25}',
    more=', "use_history": false',
)


@st.composite
def damaged_bodies(draw: st.DrawFn) -> bytes:
    """A right body with one or two places where bytes are left out, put in or exchanged."""
    body = bytearray(RIGHT)
    signs = st.sampled_from([bytes([each]) for each in set(RIGHT)] + [b"\xff", b"\x00", b"\xc3", b"\xed\xa0\x80", b"E"])
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 2))] = draw(st.lists(signs, max_size=2).map(b"".join))
    return bytes(body)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(odd_bodies(), damaged_bodies()))
@example(RIGHT)
@example(body_of(f'{{{KEYS}, "rainfall_mm": -0}}'))
@example(body_of(f'{{{KEYS}, "rainfall_mm": -0.0}}'))
@example(body_of(f'{{{KEYS}, "rainfall_mm": 1, "rainfall_mm": null, "rain_today": true, "rain_today": false}}'))
@example(body_of(f'{{{KEYS}, "st\\u0061tion": "Sydney"}}'))
@example(body_of(f"{{{KEYS}}}", more=', "use_history": false, "use_history": true'))
@example(body_of('{"station": "Hobart", "day": "0001-01-01"}'))
@example(body_of('{"station": "Hobart", "day": "9999-12-31"}'))
@example(body_of('{"station": ' + "[" * 200 + "]" * 200 + "}"))
def test_what_is_read_quickly_is_what_the_contract_reads(body: bytes) -> None:
    quick, slow = quickly(body), said_by_contract(body)
    if quick is not None:
        assert said(quick) == slow
    if slow is None:
        assert refusal(body, read_batch) == refusal(body, by_contract)
    else:
        assert said(read_batch(body)) == slow


def values_of(column: Column) -> st.SearchStrategy[Any]:
    limits = limits_of(column)
    if limits is None:
        return st.none() | st.booleans()
    return st.one_of(st.none(), st.floats(*limits), st.integers(*map(int, limits)))


ROW_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "station": st.sampled_from(["Hobart", "Sydney", "Adelaide"]), "day": st.dates(DAY_MIN, DAY_MAX),
}  # fmt: skip
ROWS = st.lists(
    st.fixed_dictionaries(ROW_KEYS, optional={c.name: values_of(c) for c in OBSERVATION_COLUMNS}),
    min_size=1,
    max_size=4,
    unique_by=lambda row: (row["station"], row["day"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ROWS)
def test_right_rows_are_read_quickly_and_become_columns_of_the_same_bits(rows: list[dict[str, Any]]) -> None:
    body = json.dumps({"target": "rain_tomorrow", "observations": rows}, default=date.isoformat).encode()
    batch = quickly(body)
    assert batch is not None
    stations = ("Adelaide", "Hobart", "Sydney")
    days = from_json(batch.observations, {name: at for at, name in enumerate(stations)})
    assert days.stations == [row["station"] for row in rows]
    assert days.station_index.tolist() == [stations.index(row["station"]) for row in rows]
    assert days.day.tolist() == [day_number(row["day"]) for row in rows]
    assert days.station_index.dtype == days.day.dtype == np.int32
    assert set(days.sent) == {"station_index", "day"}.union(*rows) - {"station"}
    for name in set(days.sent) - {"station_index", "day"}:
        values = [np.nan if (value := row.get(name)) is None else float(value) for row in rows]
        assert days.sent[name].tobytes() == np.array(values).tobytes()
        named = [name in row for row in rows]
        assert (name not in days.named) if all(named) else days.named[name].tolist() == named


@pytest.mark.parametrize(
    "body",
    [
        body_of(f'{{{KEYS}, "rainfall_mm": -1, "rainfall_mm": 2}}'),
        body_of('{"station": "Hobart", "day": "1434067200"}'),
    ],
)
def test_what_only_the_contract_can_read_is_read_by_it(body: bytes) -> None:
    assert quickly(body) is None
    assert said(read_batch(body)) == said_by_contract(body)


def test_the_quick_reader_takes_as_many_rows_as_the_contract() -> None:
    row = f"{{{KEYS}}}"
    for count, fine in ((0, False), (1, True), (MAX_BATCH_ROWS, True), (MAX_BATCH_ROWS + 1, False)):
        body = body_of(*[row] * count)
        assert (quickly(body) is not None) == fine
        if not fine:
            assert [fault.path for fault in refusal(body, read_batch)[2]] == ["observations"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (body_of(*["{}"] * (MAX_BATCH_ROWS + 200)), "observations"),
        (body_of("{" + ",".join(f'"{n}":0' for n in range(500)) + "}"), ""),
    ],
)
def test_a_body_of_far_more_than_a_batch_is_refused_before_it_is_read(body: bytes, path: str) -> None:
    (fault,) = refusal(body, read_batch)[2]
    assert fault.path == path
