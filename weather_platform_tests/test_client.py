"""The client's types are those of the service's OpenAPI document, field by field."""

import dataclasses
from typing import Any

import pytest
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from weather_platform import client
from weather_platform.domain.observations import OBSERVATION_COLUMNS
from weather_platform.serving import contract

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


def test_every_observed_column_is_a_field_of_an_observation() -> None:
    assert list(client.Observation.__annotations__) == [column.name for column in OBSERVATION_COLUMNS]
