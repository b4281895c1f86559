"""The client's types are those of the service's OpenAPI document, field by field; and what it refuses by itself."""

import dataclasses
from datetime import date
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from weather_platform import client
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.serving import contract

NOWHERE = "http://127.0.0.1:1"
REF = "#/components/schemas/{model}"
DOCUMENT: dict[str, Any] = models_json_schema(
    [(model, "serialization") for model in contract.MODELS], ref_template=REF
)[1]["$defs"]
ANSWERS = [
    client.TokenAnswer, client.PredictAnswer, client.BatchAnswer, client.Forecast, client.StationAnswer,
    client.StationForecast, client.ExplainAnswer, client.Contribution, client.StationsAnswer, client.StationEntry,
    client.ModelsAnswer, client.ModelEntry, client.RefusedEntry, client.FieldError,
]  # fmt: skip
REQUESTS = {
    "PredictRequest": client.PredictRequest,
    "BatchRequest": client.BatchRequest,
    "StationDay": client.StationDay,
    "ObservationFields": client.Observation,
}


def shape(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """What a value is, without words, bounds and names: fields by name, kinds of a choice in order."""
    if "$ref" in schema:
        return shape(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return sorted((shape(each, definitions) for each in schema["anyOf"]), key=str)
    if "const" in schema or "enum" in schema:
        return ("string",)
    if schema.get("type") == "array":
        return [shape(schema["items"], definitions)]
    if schema.get("type") == "object" and "properties" in schema:
        return {name: shape(each, definitions) for name, each in schema["properties"].items()}
    if schema.get("type") == "object":
        return {"*": shape(schema["additionalProperties"], definitions)}
    return (schema["type"], schema.get("format"))[: 2 if "format" in schema else 1]


def own_shape(kind: Any) -> Any:
    schema = TypeAdapter(kind).json_schema(ref_template=REF)
    return shape(schema, schema.get("$defs", {}))


def served_shape(name: str) -> Any:
    return shape(DOCUMENT[name], DOCUMENT)


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_an_answer_has_the_fields_and_types_of_the_document(kind: type) -> None:
    assert own_shape(kind) == served_shape(kind.__name__)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_has_the_fields_and_types_of_the_document(name: str) -> None:
    own = own_shape(REQUESTS[name])
    assert own == served_shape(name)


@pytest.mark.parametrize("name", REQUESTS)
def test_what_a_request_must_have_is_what_the_document_requires(name: str) -> None:
    own = TypeAdapter(REQUESTS[name]).json_schema(ref_template=REF)
    assert sorted(own.get("required", [])) == sorted(DOCUMENT[name].get("required", []))


def test_the_answers_that_are_compared_are_all_that_the_client_has() -> None:
    known = {value for value in vars(client).values() if isinstance(value, type) and dataclasses.is_dataclass(value)}
    assert known - {client.ModelAnswer} == set(ANSWERS)  # ModelAnswer is a part of others alone


def test_a_field_that_one_side_lacks_or_has_as_another_type_is_found() -> None:
    less, other = dict(DOCUMENT["ModelEntry"]["properties"]), dict(DOCUMENT["ModelEntry"]["properties"])
    del less["digest"]
    other["version"] = {"type": "string"}
    for properties in (less, other):
        changed = {**DOCUMENT["ModelEntry"], "properties": properties}
        assert shape(changed, DOCUMENT) != own_shape(client.ModelEntry)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:port", "http://.", "http://xn--/", "http://a\nb"])
def test_an_address_that_is_none_is_refused_when_the_client_is_made(url: str) -> None:
    with pytest.raises(client.ServiceError, match=r"is no address of a service .*; write it like http://127") as caught:
        client.WeatherClient(url, "ada", "secret")
    assert caught.value.status is None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1]:3000", "http://127.0.0.1:3000/", "https://wetter.example/präfix"])
def test_an_address_is_taken(url: str) -> None:
    client.WeatherClient(url, "ada", "secret").close()


def test_an_infinite_observation_is_refused_with_its_path_and_nothing_is_asked() -> None:
    good: client.StationDay = {"station": "Sydney", "day": date(2015, 6, 30), "rainfall_mm": None}
    bad: client.StationDay = {**good, "rainfall_mm": float("inf"), "temp_3pm_c": float("nan")}
    with client.WeatherClient(NOWHERE, "ada", "secret") as asking:
        with pytest.raises(client.ServiceError) as caught:
            asking.predict_batch("rain_tomorrow", [good, bad])
        assert [each.path for each in caught.value.errors] == ["observations.1.rainfall_mm"]
        with pytest.raises(client.ServiceError, match=r"observation\.rainfall_mm: -inf is no number"):
            asking.predict("rain_tomorrow", "Sydney", date(2015, 6, 30), {"rainfall_mm": float("-inf")})


def test_what_is_no_text_is_refused_and_a_password_is_not_shown() -> None:
    with client.WeatherClient(NOWHERE, "ada", "secret\udcff") as asking:
        with pytest.raises(client.ServiceError, match="user or password is no text") as caught:
            asking.stations()
        assert "secret" not in str(caught.value)
        with pytest.raises(client.ServiceError, match="is no name of a station"):
            asking.forecast("Sydney\udcff")


def test_every_observed_column_is_a_field_of_an_observation() -> None:
    assert list(client.Observation.__annotations__) == [column.name for column in OBSERVATION_COLUMNS]
