"""The HTTP contract follows the column contract, reads strictly, and names every faulty field by its path."""

import json
from typing import Any

import pytest

from weather_platform.domain.observations import OBSERVATION_COLUMNS, Column
from weather_platform.serving.contract import (
    BATCH_REQUEST,
    MAX_BATCH_ROWS,
    MAX_NAMED_ERRORS,
    MAX_OTHERS,
    MAX_REPORTED_ERRORS,
    PREDICT_REQUEST,
    Fault,
    RequestRefusedError,
    limits_of,
    read_json,
    read_predict,
    require_few,
)

RANGED = [c for c in OBSERVATION_COLUMNS if c.kind != "flag"]


def request(**changes: Any) -> bytes:
    """A request as JSON; the changes replace its top-level fields."""
    return json.dumps({"target": "rain_tomorrow", "station": "Hobart", "day": "2015-06-30"} | changes).encode()


def faults(body: bytes, status: int = 422) -> dict[str, str]:
    """Path -> message of a body that is refused."""
    with pytest.raises(RequestRefusedError) as refused:
        read_json(PREDICT_REQUEST, body)
    assert refused.value.status == status
    return {fault.path: fault.message for fault in refused.value.faults}


def ends_of(column: Column) -> tuple[float, float]:
    limits = limits_of(column)
    assert limits is not None
    return limits


@pytest.mark.parametrize("column", RANGED, ids=lambda c: c.name)
def test_each_column_takes_its_whole_range_and_null_and_nothing_beyond(column: Column) -> None:
    low, high = ends_of(column)
    for fine in (low, high, (low + high) / 2, None):
        read = read_json(PREDICT_REQUEST, request(observation={column.name: fine}))
        assert read.observation == {column.name: fine}
    for wrong in (low - 0.001, high + 0.001, str(low), True, [low], float("nan"), float("inf")):
        assert list(faults(request(observation={column.name: wrong}))) == [f"observation.{column.name}"]


def test_a_flag_takes_true_false_and_null_and_nothing_else() -> None:
    for fine in (True, False, None):
        assert read_json(PREDICT_REQUEST, request(observation={"rain_today": fine})).observation["rain_today"] is fine
    for wrong in (0, 1, "true", "Yes", 0.5):
        assert list(faults(request(observation={"rain_today": wrong}))) == ["observation.rain_today"]


def test_a_field_that_is_not_sent_is_not_the_same_as_one_that_is_null() -> None:
    assert read_json(PREDICT_REQUEST, request()).observation == {}
    assert read_json(PREDICT_REQUEST, request(observation={"rainfall_mm": None})).observation == {"rainfall_mm": None}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"target": "snow_tomorrow"}, "target"),
        ({"target": None}, "target"),
        ({"station": ""}, "station"),
        ({"station": 7}, "station"),
        ({"station": "x" * 65}, "station"),
        ({"day": "2015-02-29"}, "day"),
        ({"day": "30/06/2015"}, "day"),
        ({"day": "2015-06-30T00:00:00"}, "day"),
        ({"day": 16616}, "day"),
        ({"day": "0001-01-01"}, "day"),
        ({"day": "9999-12-31"}, "day"),
        ({"use_history": "yes"}, "use_history"),
        ({"observation": []}, "observation"),
        ({"observation": {"rainfall": 1}}, "observation.rainfall"),
        ({"others": [{"station": "Hobart"}]}, "others.0.day"),
        ({"others": [{"day": "2015-06-29"}]}, "others.0.station"),
        ({"others": [{"station": "Hobart", "day": "2015-06-29", "cloud_9am_oktas": 10}]}, "others.0.cloud_9am_oktas"),
        ({"others": [{"station": "Hobart", "day": "2015-06-29"}] * (MAX_OTHERS + 1)}, "others"),
        ({"colour": "blue"}, "colour"),
    ],
)
def test_a_faulty_field_is_named_by_its_path(changes: dict[str, Any], path: str) -> None:
    assert list(faults(request(**changes))) == [path]


def test_all_faulty_fields_are_named_at_once() -> None:
    observation = {"humidity_9am_pct": 101, "rainfall_mm": -1, "snow_mm": 3}
    assert set(faults(request(station="", observation=observation))) == {
        "station", "observation.humidity_9am_pct", "observation.rainfall_mm", "observation.snow_mm",
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"nothing", b'{"a": 1} {"b": 2}'])
def test_what_is_not_json_is_400_and_not_422(body: bytes) -> None:
    assert faults(body, status=400) == {}


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"text"'])
def test_json_that_is_no_object_is_refused_as_a_whole(body: bytes) -> None:
    assert list(faults(body)) == [""]


def test_a_batch_holds_at_least_one_and_at_most_ten_thousand_station_days() -> None:
    row = {"station": "Hobart", "day": "2015-06-30"}
    for count, fine in ((0, False), (1, True), (MAX_BATCH_ROWS, True), (MAX_BATCH_ROWS + 1, False)):
        body = json.dumps({"target": "rain_tomorrow", "observations": [row] * count}).encode()
        if fine:
            assert len(read_json(BATCH_REQUEST, body).observations) == count
        else:
            with pytest.raises(RequestRefusedError) as refused:
                read_json(BATCH_REQUEST, body)
            assert [fault.path for fault in refused.value.faults] == ["observations"]


def test_a_batch_of_nothing_but_faults_names_the_first_of_them_and_counts_all() -> None:
    rows = [{"station": "Hobart", "day": "2015-06-30", "rainfall_mm": -1}] * 500
    with pytest.raises(RequestRefusedError, match="500 fields are not as the contract says") as refused:
        read_json(BATCH_REQUEST, json.dumps({"target": "rain_tomorrow", "observations": rows}).encode())
    assert len(refused.value.faults) == MAX_REPORTED_ERRORS
    assert refused.value.faults[-1] == Fault(
        f"observations.{MAX_REPORTED_ERRORS - 1}.rainfall_mm", "Input should be greater than or equal to 0"
    )


def full_row(value: float | None = None) -> dict[str, Any]:
    return {"station": "Hobart", "day": "2015-06-29"} | {c.name: value for c in OBSERVATION_COLUMNS}


def test_the_largest_right_request_is_not_too_large() -> None:
    whole = {c.name: None for c in OBSERVATION_COLUMNS}
    body = request(observation=whole, others=[full_row()] * MAX_OTHERS, use_history=False)
    assert len(read_predict(body).others) == MAX_OTHERS
    batch = {"target": "rain_tomorrow", "observations": [full_row()] * MAX_BATCH_ROWS, "use_history": True}
    require_few(json.dumps(batch).encode(), "observations", MAX_BATCH_ROWS)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({str(n): 0 for n in range(1_000)}, "", "there are more fields than the contract has"),
        ({"observation": {str(n): 0 for n in range(1_000)}}, "", "there are more fields than the contract has"),
        ({"observation": [0] * 1_000}, "", "there are more fields than the contract has"),
        ({"observation": [[] for _ in range(120)]}, "", "there are more fields than the contract has"),
        ({"others": [{}] * 3_000}, "others", "at most 2000 rows are taken at once"),
    ],
)
def test_a_body_of_far_more_than_the_contract_has_is_refused_before_it_is_read(
    changes: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(RequestRefusedError) as refused:
        read_predict(request(**changes))
    assert refused.value.status == 422
    assert refused.value.faults == (Fault(path, message),)


def test_a_few_fields_that_the_contract_does_not_have_are_still_named() -> None:
    with pytest.raises(RequestRefusedError) as refused:
        read_predict(request(observation={f"snow_{n}": 0 for n in range(50)}))
    assert [fault.path for fault in refused.value.faults] == [f"observation.snow_{n}" for n in range(50)]


def test_faults_beyond_number_are_counted_and_not_named() -> None:
    numbers = sum(c.kind != "flag" for c in OBSERVATION_COLUMNS)
    rows = [full_row(-1e9)] * (MAX_NAMED_ERRORS // numbers + 1)
    with pytest.raises(RequestRefusedError, match="too many to name them") as refused:
        read_json(BATCH_REQUEST, json.dumps({"target": "rain_tomorrow", "observations": rows}).encode())
    assert (refused.value.status, refused.value.faults) == (422, ())
