"""The OpenAPI document and the service say the same: every route, every status, and no answer of 500."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from weather_platform.serving.app import documented_api, required_scope
from weather_platform.serving.http import LeanRoute
from weather_platform_tests import loopback
from weather_platform_tests.serving.servers import Server

DOCUMENT: dict[str, Any] = documented_api().openapi()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_the_served_document_is_the_one_of_the_code(server: Server) -> None:
    assert loopback.get(f"{server.url}/openapi.json", timeout=30).json() == DOCUMENT


def test_every_route_is_documented_and_says_whether_it_is_open() -> None:
    routes = [route for route in documented_api().routes if isinstance(route, LeanRoute) and route.include_in_schema]
    assert {(route.path, method.lower()) for route in routes for method in route.methods or ()} == {
        (path, method) for path, methods in DOCUMENT["paths"].items() for method in methods
    }
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            is_open = required_scope(path, method, open_metrics=False) is None
            assert (operation["security"] == []) is is_open
            assert ("401" in operation["responses"]) is (not is_open or path == "/v1/token")
            assert operation["summary"]
            assert operation["description"]


@pytest.mark.filterwarnings("ignore")
@SCHEMA.parametrize()
@settings(
    max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_whatever_is_sent_is_answered_as_documented(case: "Case[Any]", server: Server) -> None:
    headers = {"Authorization": f"Bearer {server.token()}"}
    if case.path == "/v1/token":
        headers = {}
    response = case.call(base_url=server.url, headers=headers)
    case.validate_response(response, checks=CHECKS)
