"""Who may ask what: every refusal in front of the routes, by a real server."""

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import pytest

from weather_platform.serving.contract import PROBLEM, TokenAnswer
from weather_platform_tests import loopback
from weather_platform_tests.serving.servers import PASSWORD, SECRET, Server

CLOSED = (
    ("POST", "/v1/predict"), ("POST", "/v1/predict/batch"), ("POST", "/v1/explain"), ("GET", "/v1/forecast/Canberra"),
    ("GET", "/v1/stations"), ("GET", "/v1/models"), ("GET", "/metrics"),
    ("GET", "/models/rain_tomorrow@Production/ping"),
    ("POST", "/models/rain_tomorrow@Production/invocations"), ("GET", "/models/rain_tomorrow@Production/contract"),
    ("GET", "/nothing"), ("GET", "/v1/token/"), ("GET", "/livez/"), ("GET", "//livez"), ("DELETE", "/v1/predict"),
)  # fmt: skip

Claims = dict[str, Any]


def refused(answer: httpx.Response, status: int = 401) -> dict[str, Any]:
    """The problem of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["x-request-id"]
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    return body


def ask(server: Server, token: str | None, url: str = "/v1/stations") -> httpx.Response:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return loopback.get(f"{server.url}{url}", headers=headers, timeout=30)


def remade(token: str, key: str = SECRET, **changes: Any) -> str:
    """A token with other claims, signed with this key under the id of ours."""
    claims = jwt.decode(token, options={"verify_signature": False}) | changes
    header = jwt.get_unverified_header(token)
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, key, "HS256", {"kid": header["kid"]})


def unsigned(token: str) -> str:
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(claims, "", "none", {"kid": jwt.get_unverified_header(token)["kid"]})


def promoted(token: str) -> str:
    """With other claims under the old signature."""
    head, claims, signature = token.split(".")
    values = json.loads(base64.urlsafe_b64decode(claims + "=="))
    values["scope"] = "predict admin"
    values["sub"] = "root"
    return ".".join((head, base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("="), signature))


@pytest.mark.parametrize(("method", "url"), CLOSED)
def test_nothing_is_open_that_is_not_meant_to_be(server: Server, method: str, url: str) -> None:
    refused(loopback.request(method, f"{server.url}{url}", timeout=30))


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda _: "abc", lambda t: t[:-4], lambda t: t + "x", unsigned, promoted,
        lambda t: remade(t, exp=int(time.time()) - 1, iat=int(time.time()) - 100),
        lambda t: remade(t, aud="another_service"), lambda t: remade(t, iss="somebody"),
        lambda t: remade(t, key="x" * 48), lambda t: remade(t, exp=int(time.time()) + 86_400),
        lambda t: remade(t, iat=int(time.time()) + 600, exp=int(time.time()) + 1200), lambda t: remade(t, jti=None),
        lambda t: remade(t, exp=None), lambda t: remade(t, sub="nobody_we_know", iat=int(time.time()) - 600),
        lambda t: remade(t, scope=["predict"]),
    ],
    ids=[
        "no token", "cut", "longer", "alg none", "tampered", "expired", "other audience", "other issuer",
        "other key", "lives too long", "from the future", "without jti", "without exp", "unknown user", "wrong claim",
    ],
)  # fmt: skip
def test_a_token_that_is_not_ours_is_refused(server: Server, spoiled: Callable[[str], str]) -> None:
    assert ask(server, server.token()).status_code == 200
    refused(ask(server, spoiled(server.token())))


def test_a_token_that_is_signed_anew_with_its_own_claims_is_as_good(server: Server) -> None:
    assert ask(server, remade(server.token(), jti=uuid.uuid4().hex)).status_code == 200


@pytest.mark.parametrize("header", ["Basic YWRhOmFkYQ==", "Bearer", "bearer", "Token abc"])
def test_another_way_to_identify_oneself_is_refused(server: Server, header: str) -> None:
    refused(loopback.get(f"{server.url}/v1/stations", headers={"Authorization": header}, timeout=30))


def test_who_may_only_forecast_does_not_see_the_metrics(server: Server) -> None:
    assert ask(server, server.token("bob")).status_code == 200
    refused(ask(server, server.token("bob"), "/metrics"), 403)
    assert ask(server, server.token("ada"), "/metrics").status_code == 200


@pytest.mark.parametrize("form", [True, False])
def test_a_login_as_a_form_or_as_json_gives_a_token(server: Server, form: bool) -> None:
    login = {"username": "bob", "password": PASSWORD, "grant_type": "password"}
    url = f"{server.url}/v1/token"
    answer = loopback.post(url, data=login, timeout=30) if form else loopback.post(url, json=login, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    given = TokenAnswer.model_validate_json(answer.content)
    assert given.scope == "predict"
    assert 0 < given.expires_in <= 900
    assert ask(server, given.access_token).status_code == 200


def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(server: Server) -> None:
    answers = [
        refused(
            loopback.post(
                f"{server.url}/v1/token", json={"username": name, "password": "wrong " + PASSWORD}, timeout=30
            )
        )
        for name in ("bob", "nobody")
    ]
    assert {k: v for k, v in answers[0].items() if k != "request_id"} == {
        k: v for k, v in answers[1].items() if k != "request_id"
    }


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{}", "application/json", 400),
        (b"username=ada", "application/x-www-form-urlencoded", 400),
        (b'{"username": "ada"}', "application/json", 400),
        (b'{"username": "", "password": ""}', "application/json", 401),
        (b'{"username": 1, "password": 2}', "application/json", 400),
        (b"<login/>", "application/xml", 400),
        (b'{"username": "ada", "password": "' + b"x" * 20_000 + b'"}', "application/json", 413),
    ],
)
def test_a_login_that_is_none_is_refused(server: Server, body: bytes, content_type: str, status: int) -> None:
    answer = loopback.post(f"{server.url}/v1/token", content=body, headers={"Content-Type": content_type}, timeout=30)
    refused(answer, status)


def test_refusals_are_counted_by_reason(server: Server) -> None:
    def counted() -> str:
        lines = ask(server, server.token(), "/metrics").text.splitlines()
        return next((line for line in lines if 'auth_failures_total{reason="no_token"}' in line), "0")

    before = float(counted().rpartition(" ")[2])
    ask(server, None)
    assert float(counted().rpartition(" ")[2]) == before + 1
