"""The middleware in a real server process: who is let in, how each refusal is answered, and what is logged."""

import base64
import http.client
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from weather_platform.database import Database, User
from weather_platform.serving.keys import Keys
from weather_platform.serving.users import Passwords
from weather_platform.settings import Settings
from weather_platform_tests.databases import migrated
from weather_platform_tests.processes import beside
from weather_platform_tests.serving import guarded

SECRET = secrets.token_urlsafe(48)
PASSWORD = "blue whales eat krill"  # noqa: S105
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass
class Guarded:
    """A running server, and what it wrote."""

    database: Database
    port: int
    output: Path

    def ask(
        self,
        path: str = "/",
        token: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        body: str | None = None,
    ) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Status, headers and body of one answer; a body is posted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token is not None else {})
        connection.request("GET" if body is None else "POST", path, body, sent)
        answer = connection.getresponse()
        told = answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read())
        connection.close()
        return told

    def login(self, name: str = "ada", password: str = PASSWORD, **fields: str) -> str:
        """A token."""
        body = urlencode({"username": name, "password": password} | fields)
        status, _, answer = self.ask("/v1/token", headers=FORM, body=body)
        assert status == 200, answer
        return str(answer["access_token"])


@contextmanager
def started(folder: Path, **env: str) -> Iterator[Guarded]:
    """A server on a database with ada (predict) and root (predict, admin)."""
    url = f"sqlite:///{folder / 'weather.db'}"
    database, output = migrated(folder / "weather.db"), folder / "output.txt"
    hashed = Passwords().hash(PASSWORD)
    for name, scopes in (("ada", ("predict",)), ("root", ("predict", "admin"))):
        database.add_user(User(name=name, password_hash=hashed, scopes=scopes, created_at=datetime.now(UTC)))
    settings = {"WEATHER_HOME": str(folder), "WEATHER_JWT_SECRET": SECRET} | env
    with beside(guarded.serve, url, env=settings, output=output) as process:
        yield Guarded(database, process.hear(), output)
    database.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with started(tmp_path_factory.mktemp("guarded")) as made:
        yield made


def forged(secret: str = SECRET, **changes: Any) -> str:
    now = int(time.time())
    claims = {
        "iss": "weather_platform", "aud": "weather_endpoint", "sub": "ada", "iat": now, "exp": now + 900, "jti": "x",
        "scope": "predict", "gen": 1,
    }  # fmt: skip
    kid = Keys.from_settings(Settings.model_validate({"jwt_secret": SECRET})).present.kid
    return jwt.encode(claims | changes, secret, "HS256", headers={"kid": kid})


def unsigned() -> str:
    header, claims, _ = forged().split(".")
    kid = json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]
    none = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT", "kid": kid}).encode()).rstrip(b"=")
    return f"{none.decode()}.{claims}."


def test_a_token_of_the_token_route_lets_in_by_form_and_by_json(server: Guarded) -> None:
    assert server.ask("/anything", server.login())[2] == {"subject": "ada"}
    body = json.dumps({"username": "ada", "password": PASSWORD})
    status, _, answer = server.ask("/v1/token", headers={"Content-Type": "application/json"}, body=body)
    assert status == 200
    assert server.ask("/anything", answer["access_token"])[:1] == (200,)
    assert server.ask("/anything", headers={"Authorization": f"bEARER  {answer['access_token']} "})[0] == 200


def test_an_open_route_asks_for_nothing_and_minds_no_bad_token(server: Guarded) -> None:
    assert server.ask("/open")[2] == {"subject": None}
    assert server.ask("/open", "nonsense")[0] == 200


def bearer(**changes: Any) -> str:
    return f"Bearer {forged(**changes)}"


def times(issued_in: int, ends_in: int) -> dict[str, int]:
    now = int(time.time())
    return {"iat": now + issued_in, "exp": now + ends_in}


REFUSED: dict[str, tuple[Callable[[], str | None], str]] = {
    "no token": (lambda: None, "no_token"),
    "another scheme": (lambda: "Basic YWRhOnB3", "no_token"),
    "no scheme": (forged, "no_token"),
    "nonsense": (lambda: "Bearer nonsense", "malformed"),
    "expired": (lambda: bearer(iat=1_500_000_000, exp=1_500_000_900), "expired"),
    "another audience": (lambda: bearer(aud="other"), "audience"),
    "another issuer": (lambda: bearer(iss="other"), "issuer"),
    "another key": (lambda: bearer(secret=secrets.token_urlsafe(48)), "signature"),
    "tampered": (lambda: bearer()[:-3] + "AAA", "signature"),
    "alg none": (lambda: f"Bearer {unsigned()}", "algorithm"),
    "too long-lived": (lambda: bearer(exp=4_000_000_000), "lifetime"),
    "without a jti": (lambda: bearer(jti=None), "claims"),
    "a user that is not there": (
        lambda: bearer(sub="eve", iat=int(time.time()) - 300, exp=int(time.time()) + 300),
        "user",
    ),
    "of the future": (lambda: bearer(**times(90, 900)), "future"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_each_refusal_is_a_401_with_a_challenge_a_problem_and_its_reason_for_the_metrics(
    server: Guarded, kind: str
) -> None:
    authorization, reason = REFUSED[kind]
    value = authorization()
    before = server.output.read_text().count(f"refused {reason}\n")
    status, answered, problem = server.ask("/anything", headers={"Authorization": value} if value is not None else {})
    assert status == 401
    assert answered["content-type"] == "application/problem+json"
    assert answered["cache-control"] == "no-store"
    assert answered["www-authenticate"].startswith('Bearer realm="weather_platform"')
    assert ("invalid_token" in answered["www-authenticate"]) == (reason != "no_token")
    assert (problem["status"], problem["title"], problem["type"]) == (401, "Unauthorized", "about:blank")
    assert "/v1/token" in problem["detail"]
    assert server.output.read_text().count(f"refused {reason}\n") == before + 1
    assert server.ask("/anything", forged())[0] == 200


def test_two_authorization_headers_are_refused(server: Guarded) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.putrequest("GET", "/anything")
    for _ in range(2):
        connection.putheader("Authorization", f"Bearer {forged()}")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_a_route_that_needs_admin_refuses_others_with_403(server: Guarded) -> None:
    status, headers, problem = server.ask("/admin", server.login("ada"))
    assert (status, problem["status"]) == (403, 403)
    assert 'error="insufficient_scope", scope="admin"' in headers["www-authenticate"]
    assert server.ask("/admin", server.login("root"))[2] == {"subject": "root"}
    assert server.ask("/admin", server.login("root", scope="predict"))[0] == 403


def test_a_wrong_login_is_answered_as_a_problem_however_often_it_comes(server: Guarded) -> None:
    body = urlencode({"username": "somebody", "password": "not the password"})
    for _ in range(7):
        status, headers, problem = server.ask("/v1/token", headers=FORM, body=body)
        assert (status, problem["detail"]) == (401, "user name or password is wrong")
        assert headers["cache-control"] == "no-store"


def test_a_user_who_asks_too_often_is_slowed_down_and_others_are_not(tmp_path: Path) -> None:
    with started(tmp_path, WEATHER_RATE_LIMIT_PER_SECOND="0.5") as slow:
        ada, root = slow.login("ada"), slow.login("root")
        assert slow.ask("/anything", ada)[0] == 200
        status, headers, problem = slow.ask("/anything", ada)
        assert (status, problem["title"]) == (429, "Too Many Requests")
        assert headers["retry-after"] in ("1", "2")
        assert slow.ask("/anything", root)[0] == 200


def test_a_disabled_user_is_out_within_seconds(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        token = server.login()
        assert server.ask("/anything", token)[0] == 200
        server.database.set_user_disabled("ada", True)
        begun = time.monotonic()
        while server.ask("/anything", token)[0] == 200:
            assert time.monotonic() < begun + 30
            time.sleep(0.1)
        assert server.ask("/anything", token)[0] == 401
        assert server.ask("/anything", server.login("root"))[0] == 200


def test_the_output_of_the_server_tells_no_password_and_no_token(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        token, bad = server.login(), forged(secrets.token_urlsafe(48))
        server.ask("/anything", token)
        server.ask("/anything", bad)
        wrong = {"username": "a secret typed as the name", "password": "a wrong password"}
        for _ in range(6):
            server.ask("/v1/token", headers=FORM, body=urlencode(wrong))
        server.ask("/v1/token", headers={"Content-Type": "application/json"}, body=json.dumps(wrong)[:-1])
        text = server.output.read_text()
    assert "refused signature" in text
    for hidden in (token, bad, PASSWORD, *wrong.values(), SECRET):
        assert hidden not in text
        assert hidden.replace(" ", "+") not in text


@pytest.mark.parametrize(
    ("secret", "said"), [("", "tokens cannot be signed"), ("short", "has 5 bytes"), ("change-me" * 9, "placeholder")]
)
def test_a_server_without_a_good_secret_does_not_start(tmp_path: Path, secret: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said), started(tmp_path, WEATHER_JWT_SECRET=secret):
        pass
