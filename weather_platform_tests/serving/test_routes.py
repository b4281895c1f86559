"""What each route answers and refuses, asked of a real server."""

import json
import re
from datetime import date, timedelta
from functools import partial
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from weather_platform.domain.features import HISTORY_DAYS
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.domain.targets import TARGETS
from weather_platform.domain.training import sha256
from weather_platform.serving import contract
from weather_platform.serving.app import documented_api
from weather_platform.serving.contract import ARROW, MAX_BATCH_ROWS, PARQUET, PROBLEM, limits_of
from weather_platform.serving.http import LeanRoute
from weather_platform_tests.e2e.homes import MadeHome
from weather_platform_tests.serving.servers import PASSWORD, Server

DAY = "2015-06-30"
"""The newest day of the shared home."""


def asked(**changes: Any) -> dict[str, Any]:
    return {"target": "rain_tomorrow", "station": "Canberra", "day": DAY} | changes


def batch(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"target": "rain_tomorrow", "observations": list(rows)} | changes


def paths(answer: httpx.Response, status: int = 422) -> list[str]:
    """The paths of the faulty fields that a refusal names."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    refusal = contract.ProblemDetails.model_validate_json(answer.content)
    assert refusal.status == status
    assert refusal.request_id == answer.headers["x-request-id"]
    return [fault.path for fault in refusal.errors]


def as_documented(answer: httpx.Response, model: type[BaseModel]) -> Any:
    """The answer, after checking that it has exactly the fields of its model."""
    assert answer.status_code == 200, answer.text
    read = model.model_validate_json(answer.content)
    body = answer.json()
    assert json.loads(read.model_dump_json()).keys() == body.keys()
    return body


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("target", TARGETS)
def test_a_forecast_says_what_it_is_and_which_model_gave_it(
    client: httpx.Client, served_home: MadeHome, target: str
) -> None:
    said = as_documented(client.post("/v1/predict", json=asked(target=target)), contract.PredictAnswer)
    model = served_home.registry.production(target)
    assert (said["model_version"], said["model_digest"]) == (model.version, model.digest)
    assert (said["target"], said["station"], said["day"], said["forecast_day"]) == (
        target,
        "Canberra",
        DAY,
        "2015-07-01",
    )
    assert said["kind"] == ("hindcast" if model.tested_through >= date.fromisoformat(DAY) else "live")
    assert 0 < said["seconds"] < 5
    if TARGETS[target].task == "classification":
        assert 0 <= said["probability"] <= 1
        assert said["label"] is (said["probability"] >= said["threshold"])
        assert said["value"] is said["low"] is said["high"] is None
    else:
        assert said["low"] <= said["value"] <= said["high"]
        assert said["probability"] is said["label"] is said["threshold"] is None


def test_a_day_of_the_models_own_test_span_is_a_hindcast_and_the_next_one_live(
    client: httpx.Client, served_home: MadeHome
) -> None:
    last = served_home.registry.production("rain_tomorrow").tested_through
    kinds = [
        client.post("/v1/predict", json=asked(day=(last + timedelta(days=ahead)).isoformat())).json()["kind"]
        for ahead in (0, 1)
    ]
    assert kinds == ["hindcast", "live"]


def test_stored_fields_fill_what_is_not_sent_unless_told_otherwise(client: httpx.Client) -> None:
    def said(**changes: Any) -> float:
        return float(client.post("/v1/predict", json=asked(**changes)).json()["probability"])

    sent = {"humidity_3pm_pct": 93.0, "pressure_3pm_hpa": 991.5}
    values = {
        said(), said(observation=sent), said(observation=sent, use_history=False),
        said(observation=dict.fromkeys(c.name for c in OBSERVATION_COLUMNS)), said(use_history=False),
    }  # fmt: skip
    assert len(values) == 5
    assert said(observation={}) == said()


def test_other_stations_and_earlier_days_change_the_forecast(client: httpx.Client, server: Server) -> None:
    stations = [each["id"] for each in client.get("/v1/stations").json()["stations"]]
    neighbour = next(name for name in stations if name != "Canberra")
    alone = client.post("/v1/predict", json=asked(use_history=False)).json()["probability"]
    others = [
        {"station": neighbour, "day": DAY, "pressure_3pm_hpa": 985.0, "humidity_3pm_pct": 99.0},
        {
            "station": "Canberra",
            "day": "2015-06-29",
            "rainfall_mm": 55.0,
            "pressure_3pm_hpa": 1035.0,
            "humidity_3pm_pct": 5.0,
            "temp_3pm_c": 39.0,
        },
    ]
    with_one, with_both = (
        client.post("/v1/predict", json=asked(use_history=False, others=others[:count])).json()["probability"]
        for count in (1, 2)
    )
    assert len({alone, with_one, with_both}) == 3


def test_a_batch_answers_in_the_order_of_its_rows_and_like_single_requests(client: httpx.Client) -> None:
    rows: list[dict[str, Any]] = [
        {"station": "Canberra", "day": DAY, "rainfall_mm": 4.0},
        {"station": "Adelaide", "day": "2015-06-28"},
        {"station": "Adelaide", "day": DAY, "temp_3pm_c": None, "rain_today": True},
    ]
    said = as_documented(client.post("/v1/predict/batch", json=batch(*rows)), contract.BatchAnswer)
    assert [(each["station"], each["day"]) for each in said["forecasts"]] == [(r["station"], r["day"]) for r in rows]
    alone = as_documented(client.post("/v1/predict/batch", json=batch(rows[1])), contract.BatchAnswer)
    assert alone["forecasts"] == said["forecasts"][1:2]
    observation = {key: value for key, value in rows[0].items() if key not in ("station", "day")}
    single = client.post("/v1/predict", json=asked(observation=observation, others=rows[1:2])).json()
    in_batch = client.post("/v1/predict/batch", json=batch(*rows[:2])).json()["forecasts"][0]
    assert {name: single[name] for name in in_batch} == in_batch


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        (ARROW, ARROW),
        (f"{PARQUET};q=0.9, */*", PARQUET),
        ("text/html", "application/json"),
    ],
)
def test_the_answer_has_the_type_that_is_accepted(client: httpx.Client, accept: str, expected: str) -> None:
    body = batch({"station": "Canberra", "day": DAY})
    answer = client.post("/v1/predict/batch", json=body, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == expected
    if expected == ARROW:
        with pa.ipc.open_stream(answer.content) as stream:
            metadata = stream.schema.metadata
        assert metadata[b"target"] == b"rain_tomorrow"
        assert int(metadata[b"model_version"]) >= 1
        assert len(metadata[b"model_digest"]) == 64


def test_a_full_batch_is_taken_and_one_row_more_is_not(client: httpx.Client) -> None:
    first = date(1990, 1, 1)
    rows = [
        {"station": "Canberra", "day": (first + timedelta(days=at)).isoformat()} for at in range(MAX_BATCH_ROWS + 1)
    ]
    answer = client.post("/v1/predict/batch", json=batch(*rows[:-1]))
    assert answer.status_code == 200
    assert len(answer.json()["forecasts"]) == MAX_BATCH_ROWS
    assert paths(client.post("/v1/predict/batch", json=batch(*rows))) == ["observations"]


def test_days_that_lie_centuries_apart_are_answered(client: httpx.Client) -> None:
    rows = [
        {"station": "Canberra", "day": day, "rainfall_mm": 1.0} for day in ("0500-01-01", "2015-06-30", "9000-12-31")
    ]
    answer = client.post("/v1/predict/batch", json=batch(*rows))
    assert answer.status_code == 200, answer.text
    assert [each["forecast_day"] for each in answer.json()["forecasts"]] == ["0500-01-02", "2015-07-01", "9001-01-01"]


def test_contributions_add_up_to_the_raw_value_largest_first(client: httpx.Client, served_home: MadeHome) -> None:
    for target in TARGETS:
        answer = client.post("/v1/explain", json=asked(target=target))
        if served_home.registry.production(target).tags["algorithm"] in ("decision_tree", "random_forest"):
            assert answer.status_code == 501
            continue
        said = as_documented(answer, contract.ExplainAnswer)
        parts = said["contributions"]
        assert len(parts) == len(
            served_home.registry.ready(served_home.registry.production(target)).contract.feature_names
        )
        sizes = [abs(part["contribution"]) for part in parts]
        assert sizes == sorted(sizes, reverse=True)
        total = said["base"] + sum(part["contribution"] for part in parts)
        np.testing.assert_allclose(total, said["raw_value"], rtol=1e-5, atol=1e-5)
        assert said["contribution_unit"] == ("log-odds" if target == "rain_tomorrow" else "degC")
        forecast = client.post("/v1/predict", json=asked(target=target)).json()
        volatile = ("request_id", "seconds")
        assert {k: v for k, v in forecast.items() if k not in volatile}.items() <= said.items()


def test_a_station_is_forecast_from_its_stored_report(client: httpx.Client) -> None:
    said = as_documented(client.get("/v1/forecast/Canberra"), contract.StationAnswer)
    assert [each["target"] for each in said["forecasts"]] == list(TARGETS)
    assert {each["day"] for each in said["forecasts"]} == {DAY}
    one = client.get("/v1/forecast/Canberra", params={"date": "2015-06-01", "target": "max_temp_tomorrow"}).json()
    assert [(each["target"], each["day"]) for each in one["forecasts"]] == [("max_temp_tomorrow", "2015-06-01")]


def test_the_catalogue_and_the_models_are_listed(client: httpx.Client, served_home: MadeHome) -> None:
    stations = as_documented(client.get("/v1/stations"), contract.StationsAnswer)
    assert stations["last_day"] == DAY
    assert [each["id"] for each in stations["stations"]] == served_home.lake.read("stations")["id"].to_pylist()
    models = as_documented(client.get("/v1/models"), contract.ModelsAnswer)
    assert {each["target"] for each in models["models"]} == set(TARGETS)
    for each in models["models"]:
        registered = served_home.registry.production(each["target"])
        assert (each["version"], each["digest"], each["run_id"]) == (
            registered.version, registered.digest, registered.run_id,
        )  # fmt: skip
        assert each["metrics"]
    assert models["refused"] == []
    assert models["registry_error"] is None


def test_every_answer_is_written_down(client: httpx.Client, served_home: MadeHome) -> None:
    one = client.post("/v1/predict", json=asked()).json()
    many = client.post(
        "/v1/predict/batch", json=batch(*({"station": "Canberra", "day": d} for d in (DAY, "2015-06-29")))
    )
    rows = {}
    for request_id in (one["request_id"], many.json()["request_id"]):
        for _ in range(100):
            if found := served_home.database.predictions(request_id=request_id):
                break
        rows[request_id] = found
    (single,), (several,) = rows.values()
    assert (single.subject, single.route, single.target, single.station) == (
        "ada", "/v1/predict", "rain_tomorrow", "Canberra",
    )  # fmt: skip
    assert single.value == one["probability"]
    assert single.seconds == one["seconds"]
    assert (several.route, several.station, several.rows) == ("/v1/predict/batch", None, 2)


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("column", [c for c in OBSERVATION_COLUMNS if c.kind != "flag"], ids=lambda c: c.name)
def test_a_value_outside_its_range_is_422_by_path_in_every_body(client: httpx.Client, column: Any) -> None:
    low, high = limits_of(column) or (0.0, 0.0)
    for wrong in (low - 0.01, high + 0.01):
        assert paths(client.post("/v1/predict", json=asked(observation={column.name: wrong}))) == [
            f"observation.{column.name}"
        ]
        row = {"station": "Canberra", "day": DAY, column.name: wrong}
        fine = {"station": "Canberra", "day": "2015-06-29"}
        assert paths(client.post("/v1/predict/batch", json=batch(fine, row))) == [f"observations.1.{column.name}"]
        assert paths(client.post("/v1/predict", json=asked(others=[{**row, "day": "2015-06-28"}]))) == [
            f"others.0.{column.name}"
        ]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"target": "snow_tomorrow"}, "target"),
        ({"station": "Atlantis"}, "station"),
        ({"station": ""}, "station"),
        ({"day": "yesterday"}, "day"),
        ({"day": "9999-12-31"}, "day"),
        ({"observation": {"rainfall": 1}}, "observation.rainfall"),
        ({"observation": {"rainfall_mm": "1"}}, "observation.rainfall_mm"),
        ({"observation": {"rain_today": "Yes"}}, "observation.rain_today"),
        ({"use_history": 1}, "use_history"),
        ({"more": 1}, "more"),
        ({"others": [{"station": "Atlantis", "day": DAY}]}, "others.0.station"),
        ({"others": [{"station": "Adelaide", "day": "2015-07-01"}]}, "others.0.day"),
        ({"others": [{"station": "Adelaide", "day": "2015-05-30"}]}, "others.0.day"),
        ({"others": [{"station": "Canberra", "day": DAY}]}, "others.0"),
        ({"others": [{"station": "Adelaide", "day": DAY}] * 2}, "others.1"),
    ],
)
def test_a_faulty_field_of_a_forecast_or_an_explanation_is_422_by_path(
    client: httpx.Client, changes: dict[str, Any], path: str
) -> None:
    for route in ("/v1/predict", "/v1/explain"):
        assert paths(client.post(route, json=asked(**changes))) == [path]


def test_the_oldest_and_the_newest_day_that_a_forecast_looks_at_may_be_sent(client: httpx.Client) -> None:
    first = date.fromisoformat(DAY) - timedelta(days=HISTORY_DAYS)
    others = [{"station": "Canberra", "day": first.isoformat()}, {"station": "Adelaide", "day": DAY}]
    assert client.post("/v1/predict", json=asked(others=others)).status_code == 200


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        ([{"station": "Atlantis", "day": DAY}], "observations.0.station"),
        ([{"station": "Canberra", "day": DAY}] * 2, "observations.1"),
        ([{"station": "Canberra"}], "observations.0.day"),
        ([], "observations"),
    ],
)
def test_a_faulty_row_of_a_batch_is_422_by_path(client: httpx.Client, rows: list[dict[str, Any]], path: str) -> None:
    assert paths(client.post("/v1/predict/batch", json=batch(*rows))) == [path]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"target=rain"])
@pytest.mark.parametrize("route", ["/v1/predict", "/v1/predict/batch", "/v1/explain"])
def test_a_body_that_is_not_json_is_400(client: httpx.Client, route: str, body: bytes) -> None:
    answer = client.post(route, content=body, headers={"Content-Type": "application/json"})
    assert paths(answer, 400) == []


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({}, "target"),
        ({"target": "snow"}, "target"),
        ({"target": "rain_tomorrow", "use_history": "perhaps"}, "use_history"),
    ],
)
def test_a_table_needs_a_target_and_a_clear_word_on_history(
    client: httpx.Client, params: dict[str, str], path: str
) -> None:
    answer = client.post("/v1/predict/batch", params=params, content=b"", headers={"Content-Type": ARROW})
    assert paths(answer) == [path]


def test_a_table_that_is_none_or_of_another_type_is_refused(client: httpx.Client) -> None:
    for media_type, status in ((ARROW, 400), (PARQUET, 400), ("text/csv", 415), ("application/xml", 415)):
        answer = client.post(
            "/v1/predict/batch?target=rain_tomorrow", content=b"nothing", headers={"Content-Type": media_type}
        )
        assert paths(answer, status) == []


@pytest.mark.parametrize(
    ("url", "status", "named"),
    [
        ("/v1/forecast/Atlantis", 404, []),
        ("/v1/forecast/Canberra?date=2001-01-01", 404, []),
        ("/v1/forecast/Canberra?date=2015-07-01", 404, []),
        ("/v1/forecast/Canberra?date=tomorrow", 422, ["date"]),
        ("/v1/forecast/Canberra?date=20150630", 422, ["date"]),
        ("/v1/forecast/Canberra?date=9999-12-31", 422, ["date"]),
        ("/v1/forecast/Canberra?target=snow", 422, ["target"]),
        ("/v1/nothing", 404, []),
        ("/v1/predict", 405, []),
        ("/docs/passwd", 404, []),
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, url: str, status: int, named: list[str]) -> None:
    assert paths(client.get(url), status) == named


def test_the_request_id_is_the_callers_if_it_is_a_decent_one(client: httpx.Client) -> None:
    for given, kept in (("abc-1.2_3", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)):
        answer = client.post("/v1/predict", json=asked(), headers={"X-Request-ID": given})
        found = answer.headers["x-request-id"]
        assert (found == given) is kept
        assert answer.json()["request_id"] == found


# -------------------------------------------------------------------------------------------------- running


def test_alive_ready_and_documented_without_a_token(server: Server, served_home: MadeHome) -> None:
    with server.client(None) as anyone:
        assert anyone.get("/livez").json() == {"live": True}
        ready = as_documented(anyone.get("/readyz"), contract.ReadyAnswer)
        assert ready["ready"] is True
        for target, model in ready["models"].items():
            assert model["digest"] == served_home.registry.production(target).digest
            assert model["age_seconds"] >= 0
        assert ready["checked_seconds_ago"] < 30
        page = anyone.get("/docs")
        assert page.status_code == 200
        assert "http" not in page.text.replace("http://www.w3.org", "")
        for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert f"/docs/{name}" in page.text
            assert len(anyone.get(f"/docs/{name}").content) > 10_000


def test_bodies_that_would_cost_gigabytes_or_fail_are_refused(client: httpx.Client) -> None:
    scoring = "/models/rain_tomorrow@Production/invocations"
    commas = (("," * 2**19 + "\n") * 2).encode()
    assert client.post(scoring, content=commas, headers={"Content-Type": "text/csv"}).status_code == 400
    unknown = asked(**{str(number): 0 for number in range(100_000)})
    assert paths(client.post("/v1/predict", json=unknown)) == [""]
    table = pa.table({"station": ["Canberra"], "day": [date.fromisoformat(DAY)], "rainfall_mm": [2**60 + 1]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    answer = client.post(
        "/v1/predict/batch?target=rain_tomorrow", content=bytes(sink.getvalue()), headers={"Content-Type": ARROW}
    )
    assert paths(answer) == ["observations.0.rainfall_mm"]


def test_metrics_count_what_was_asked(client: httpx.Client) -> None:
    def counted(name: str, **labels: str) -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    served = partial(counted, "weather_http_requests_total", method="POST", route="/v1/predict", status="200")
    before, unknown = served(), counted("weather_unknown_stations_total")
    client.post("/v1/predict", json=asked())
    client.post("/v1/predict", json=asked(station="Atlantis"))
    assert served() == before + 1
    assert counted("weather_unknown_stations_total") == unknown + 1
    assert counted("weather_model_info") >= len(TARGETS)


def test_missing_fields_are_counted_of_every_forecast_station_day(client: httpx.Client) -> None:
    def counted(field: str = "sunshine_hours") -> float:
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        named = (each for each in samples if each.name == "weather_missing_fields_total")
        return next((each.value for each in named if each.labels["field"] == field), 0.0)

    begun = counted()
    assert client.post("/v1/predict", json=asked(observation={"sunshine_hours": None})).status_code == 200
    assert counted() == begun + 1
    names = [station["id"] for station in client.get("/v1/stations").json()["stations"]]
    sent = zip(names[:3], (None, None, 7.5), strict=True)
    rows: list[dict[str, Any]] = [{"station": name, "day": DAY, "sunshine_hours": hours} for name, hours in sent]
    assert client.post("/v1/predict/batch", json=batch(*rows)).status_code == 200
    assert counted() == begun + 3

    station, field = _not_stored(client)
    before = counted(field)
    assert client.get(f"/v1/forecast/{station}").status_code == 200
    assert counted(field) == before + 1


def _not_stored(client: httpx.Client) -> tuple[str, str]:
    """A station and a number that it did not report on the newest day."""
    numbers = {column.name for column in OBSERVATION_COLUMNS if column.kind == "number"}
    for station in client.get("/v1/stations").json()["stations"]:
        answer = client.post("/v1/explain", json=asked(station=station["id"]))
        for each in answer.json().get("contributions", ()):
            if each["feature"] in numbers and each["value"] is None:
                return station["id"], each["feature"]
    raise AssertionError("every station reported everything")


def test_the_contract_of_a_model_is_the_file_whose_digest_it_bears(client: httpx.Client) -> None:
    for each in client.get("/v1/models").json()["models"]:
        answer = client.get(f"/models/{each['target']}@{each['alias']}/contract")
        assert sha256(answer.content) == each["digest"] == answer.headers["x-model-digest"]


def filled(path: str) -> str:
    """A path with its parameters."""
    return path.replace("{target}", "rain_tomorrow").replace("{alias}", "Production").replace("{station}", "Cobar")


@pytest.mark.parametrize(
    ("method", "path"),
    [(method, route.path) for route in documented_api().routes if isinstance(route, LeanRoute)
     for method in route.methods or ()],
)  # fmt: skip
def test_a_name_that_a_route_does_not_take_in_its_query_is_named_in_a_422(
    client: httpx.Client, method: str, path: str
) -> None:
    answer = client.request(method, filled(path), params={"taget": "rain_tomorrow"}, content=b"{}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, PROBLEM)
    assert [fault["path"] for fault in answer.json()["errors"]] == ["taget"]
    assert "this route takes" in answer.json()["errors"][0]["message"]


def test_names_of_the_query_are_taken_as_often_as_the_document_says(client: httpx.Client) -> None:
    both = {"target": ["rain_tomorrow", "max_temp_tomorrow"]}
    assert len(client.get("/v1/forecast/Cobar", params=both).json()["forecasts"]) == 2
    twice = client.get("/v1/forecast/Cobar", params={"date": ["2015-06-30", "2015-06-29"]})
    assert (twice.status_code, twice.json()["errors"][0]["path"]) == (422, "date")
    body = {"target": "rain_tomorrow", "observations": [{"station": "Cobar", "day": "2015-06-30"}]}
    assert client.post("/v1/predict/batch", json=body).status_code == 200
    asked = client.post("/v1/predict/batch", params={"target": "max_temp_tomorrow"}, json=body)
    assert (asked.status_code, asked.json()["errors"][0]["path"]) == (422, "target")


def test_a_day_before_those_that_the_service_keeps_is_refused_with_their_names(client: httpx.Client) -> None:
    stored = client.get("/v1/stations").json()
    first, last = stored["first_day"], stored["last_day"]
    assert client.get("/v1/forecast/Cobar", params={"date": first}).status_code in (200, 404)
    before = (date.fromisoformat(first) - timedelta(days=1)).isoformat()
    answer = client.get("/v1/forecast/Cobar", params={"date": before})
    assert answer.status_code == 404
    assert f"keeps the days {first} to {last}" in answer.json()["detail"]


def test_the_first_page_says_what_this_is_and_where_the_documentation_is(server: Server) -> None:
    with server.client(user=None) as anyone:
        page = anyone.get("/")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        links = re.findall(r'href="([^"]+)"', page.text)
        assert links == ["/docs", "/openapi.json", "/readyz"]
        assert [anyone.get(link).status_code for link in links] == [200] * 3


def test_the_documentation_can_sign_in_as_swagger_does(server: Server) -> None:
    with server.client(user=None) as anyone:
        document = anyone.get("/openapi.json").json()
        flow = document["components"]["securitySchemes"]["password"]["flows"]["password"]
        fields = {"grant_type": "password", "username": "ada", "password": PASSWORD, "scope": " ".join(flow["scopes"])}
        signed_in = anyone.post(flow["tokenUrl"], data=fields, headers={"Authorization": "Basic Og=="}).json()
        assert signed_in["scope"] == "predict admin"
        assert {"password": []} in document["paths"]["/v1/stations"]["get"]["security"]
        headers = {"Authorization": f"Bearer {signed_in['access_token']}"}
        assert anyone.get("/v1/stations", headers=headers).status_code == 200
        wrong = anyone.post(flow["tokenUrl"], data=fields | {"password": "not the password"})
        assert wrong.status_code == 401
