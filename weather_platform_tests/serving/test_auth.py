"""Logins and tokens on real databases: each refusal beside a sibling that is accepted, and no secret ever told."""

import asyncio
import base64
import json
import logging
import secrets
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import jwt
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from pydantic import SecretStr

from weather_platform.database import Database, User
from weather_platform.errors import SettingsError, WeatherError
from weather_platform.serving import auth, limits
from weather_platform.serving.auth import MAX_LOGIN_BYTES, Authenticator, AuthError, Issued, Login, Subject, read_login
from weather_platform.serving.keys import Keys
from weather_platform.serving.users import Passwords
from weather_platform.settings import Settings
from weather_platform_tests.database.conftest import database, dialect, postgresql_uri, url
from weather_platform_tests.databases import migrated
from weather_platform_tests.processes import race

__all__ = ["database", "dialect", "postgresql_uri", "url"]

SECRET = secrets.token_urlsafe(48)
PASSWORD = "blue whales eat krill"  # noqa: S105
WRONG = "grey whales eat krill"
HASH = Passwords().hash(PASSWORD)
QUICK_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
"""Of the same password, for tests that log in and do not ask what that costs."""
HERE = "192.0.2.7"
SOON_SECONDS = 0.05
LONG_LOCK = timedelta(seconds=60)


def add(
    database: Database,
    name: str = "ada",
    scopes: tuple[str, ...] = ("predict",),
    age: timedelta = timedelta(hours=1),
    password_hash: str = QUICK_HASH,
) -> None:
    created_at = datetime.now(UTC) - age
    assert database.add_user(User(name=name, password_hash=password_hash, scopes=scopes, created_at=created_at))


def settings(**changes: Any) -> Settings:
    return Settings.model_validate({"jwt_secret": SECRET} | changes)


@contextmanager
def opened(database: Database, keys: Keys | None = None, **changes: Any) -> Iterator[Authenticator]:
    """An authenticator that has begun, and reads the users every few milliseconds."""
    options: dict[str, Any] = {
        "issuer": "weather_platform", "audience": "weather_endpoint", "lifetime_seconds": 900, "rate_per_second": 1e6,
        "users_every_seconds": SOON_SECONDS,
    }  # fmt: skip
    made = Authenticator(database, keys or Keys.from_settings(settings()), **(options | changes))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def authenticator(database: Database) -> Iterator[Authenticator]:
    """With one user, ada."""
    add(database)
    with opened(database) as made:
        yield made


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authenticator]:
    """For tests of tokens alone: on SQLite, with one user, ada, that no test changes."""
    database = migrated(tmp_path_factory.mktemp("verifier") / "weather.db")
    add(database, scopes=("predict", "admin"))
    with opened(database, users_every_seconds=3600) as made:
        yield made
    database.close()


def refused(ask: Callable[[], object]) -> AuthError:
    with pytest.raises(AuthError) as caught:
        ask()
    return caught.value


def eventually(reached: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def is_refused(made: Authenticator, token: str, reason: str) -> bool:
    try:
        made.verify(token)
    except AuthError as error:
        return error.reason == reason
    return False


# ---------------------------------------------------------------- tokens


@dataclass(frozen=True)
class Forge:
    """Makes tokens as the service would, but for what is changed; None takes a claim or header away."""

    key: Any = SECRET
    algorithm: str | None = "HS256"
    header: dict[str, Any] = field(default_factory=dict)

    def __call__(self, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": "weather_platform", "aud": "weather_endpoint", "sub": "ada", "iat": now, "exp": now + 900,
            "jti": secrets.token_hex(16), "scope": "predict", "gen": 1,
        }  # fmt: skip
        header = {"kid": Keys.from_settings(settings()).present.kid} | self.header
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode(kept, self.key, algorithm=self.algorithm, headers={k: v for k, v in header.items() if v})


def test_a_token_that_is_made_as_ours_are_is_accepted(verifier: Authenticator) -> None:
    assert verifier.verify(Forge()()) == Subject("ada", frozenset({"predict"}))
    assert verifier.verify(Forge()(scope="admin predict")) == Subject("ada", frozenset({"predict", "admin"}))


LATE = 4_000_000_000
BAD_CLAIMS: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    ({"exp": 1_500_000_900, "iat": 1_500_000_000}, "expired", {}),
    ({"exp": None}, "claims", {}),
    ({"iat": None}, "claims", {}),
    ({"jti": None}, "claims", {}),
    ({"jti": ""}, "claims", {"jti": "x"}),
    ({"jti": 7}, "claims", {"jti": "7"}),
    ({"sub": None}, "claims", {}),
    ({"sub": ""}, "claims", {}),
    ({"sub": 7}, "claims", {}),
    ({"sub": "Ada"}, "claims", {"sub": "ada"}),
    ({"sub": "ada\0"}, "claims", {}),
    ({"sub": ["ada"]}, "claims", {}),
    ({"gen": None}, "claims", {}),
    ({"gen": 0}, "claims", {"gen": 1}),
    ({"gen": -1}, "claims", {}),
    ({"gen": True}, "claims", {}),
    ({"gen": 1.0}, "claims", {}),
    ({"gen": 2**31}, "claims", {"gen": 2**31 - 1}),
    ({"scope": None}, "claims", {}),
    ({"scope": ""}, "claims", {}),
    ({"scope": "predict root"}, "claims", {"scope": "predict admin"}),
    ({"scope": ["predict"]}, "claims", {}),
    ({"aud": None}, "claims", {}),
    ({"aud": "other"}, "audience", {"aud": "weather_endpoint"}),
    ({"aud": ["weather_endpoint", "other"]}, "audience", {}),
    ({"aud": ["weather_endpoint"]}, "audience", {}),
    ({"iss": None}, "claims", {}),
    ({"iss": "somebody"}, "issuer", {"iss": "weather_platform"}),
    ({"exp": "soon"}, "malformed", {}),
    ({"exp": str(LATE)}, "claims", {}),
    ({"exp": LATE + 0.5}, "claims", {}),
    ({"iat": float("nan")}, "claims", {}),
    ({"iat": "now"}, "claims", {}),
    ({"exp": float("inf")}, "malformed", {}),
    ({"exp": float("nan")}, "malformed", {}),
    ({"nbf": LATE}, "claims", {"nbf": 1_500_000_000}),
]


@pytest.mark.parametrize(("bad", "reason", "good"), BAD_CLAIMS, ids=[str(bad)[:40] for bad, _, _ in BAD_CLAIMS])
def test_a_token_with_a_claim_that_is_missing_or_wrong_is_refused_though_the_signature_is_right(
    verifier: Authenticator, bad: dict[str, Any], reason: str, good: dict[str, Any]
) -> None:
    verifier.verify(Forge()(**good))
    error = refused(lambda: verifier.verify(Forge()(**bad)))
    assert (error.reason, error.status) == (reason, 401)


def test_a_token_that_would_live_for_too_long_is_refused(verifier: Authenticator) -> None:
    now = int(time.time())
    verifier.verify(Forge()(iat=now, exp=now + 900))
    for exp in (now + 901, now + 10**9, 2**62):
        assert refused(lambda exp=exp: verifier.verify(Forge()(iat=now, exp=exp))).reason == "lifetime"  # type: ignore[misc]
    assert refused(lambda: verifier.verify(Forge()(iat=now - 900, exp=now + 60))).reason == "lifetime"


def test_a_token_of_the_future_is_refused_but_for_the_skew_of_clocks(verifier: Authenticator) -> None:
    now = int(time.time())
    verifier.verify(Forge()(iat=now + 2, exp=now + 800))
    assert refused(lambda: verifier.verify(Forge()(iat=now + 60, exp=now + 800))).reason == "future"


def test_a_token_ends_at_its_exp_also_when_it_was_verified_before(verifier: Authenticator) -> None:
    now = int(time.time())
    token = Forge()(iat=now, exp=now + 2)
    assert verifier.verify(token) is verifier.verify(token), "verified once, then looked up"
    eventually(lambda: is_refused(verifier, token, "expired"))
    assert time.time() >= now + 2
    assert token not in verifier._verified


def part(token: str, position: int, change: Callable[[bytes], bytes]) -> str:
    """The token with one part changed, encoded again as it should be."""
    parts = token.split(".")
    raw = base64.urlsafe_b64decode(parts[position] + "=" * (-len(parts[position]) % 4))
    parts[position] = base64.urlsafe_b64encode(change(raw)).rstrip(b"=").decode()
    return ".".join(parts)


def test_a_token_of_which_anything_was_changed_is_refused(verifier: Authenticator) -> None:
    token = Forge()()
    verifier.verify(token)
    admin = part(token, 1, lambda raw: raw.replace(b'"predict"', b'"admin"'))
    assert refused(lambda: verifier.verify(admin)).reason == "signature"
    later = part(token, 1, lambda raw: json.dumps(json.loads(raw) | {"exp": int(time.time()) + 899}).encode())
    assert refused(lambda: verifier.verify(later)).reason == "signature"
    flipped = part(token, 2, lambda raw: bytes([raw[0] ^ 1]) + raw[1:])
    assert refused(lambda: verifier.verify(flipped)).reason == "signature"
    short = part(token, 2, lambda raw: raw[:-1])
    assert refused(lambda: verifier.verify(short)).reason == "signature"
    typed = part(token, 0, lambda raw: raw.replace(b'"JWT"', b'"jwt"'))
    assert refused(lambda: verifier.verify(typed)).reason == "signature"
    assert refused(lambda: verifier.verify(token.rpartition(".")[0] + ".")).reason == "signature"


def test_a_token_signed_by_another_key_is_refused_whatever_key_id_it_names(verifier: Authenticator) -> None:
    other = secrets.token_urlsafe(48)
    verifier.verify(Forge()())
    assert refused(lambda: verifier.verify(Forge(other)())).reason == "signature"
    other_kid = Keys.from_settings(settings(jwt_secret=other)).present.kid
    for kid in (other_kid, "", "0", "../../dev/null", None):
        error = refused(lambda kid=kid: verifier.verify(Forge(other, header={"kid": kid})()))  # type: ignore[misc]
        assert error.reason == "unknown_key"


def test_a_token_without_a_signature_is_refused(verifier: Authenticator) -> None:
    verifier.verify(Forge()())
    for header in ({}, {"alg": "None"}, {"alg": "NONE"}, {"alg": "nOnE"}):
        token = Forge(None, None)()
        token = part(token, 0, lambda raw, header=header: json.dumps(json.loads(raw) | header).encode())  # type: ignore[misc]
        assert refused(lambda token=token: verifier.verify(token)).reason == "algorithm"  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_another_algorithm_than_the_keys_is_refused_with_the_same_secret(verifier: Authenticator) -> None:
    verifier.verify(Forge(algorithm="HS256")())
    for algorithm in ("HS384", "HS512"):
        assert refused(lambda a=algorithm: verifier.verify(Forge(algorithm=a)())).reason == "algorithm"  # type: ignore[misc]


@pytest.mark.parametrize(
    "token",
    ["", "x", "a.b", "a.b.c", "a.b.c.d", "....", " ", "ünïcödé.a.b", "\ud800.a.b", "x" * 10_000,
     ".".join([base64.urlsafe_b64encode(b"[" * 2_900).decode(), "e30", "AAAA"]),
     ".".join([base64.urlsafe_b64encode(b'{"alg":"HS256","kid":[1]}').decode(), "e30", "AAAA"]),
     ".".join([base64.urlsafe_b64encode(b'{"alg":"HS256","kid":{}}').decode(), "e30", "AAAA"]),
     ".".join([base64.urlsafe_b64encode(b"[]").decode(), "e30", "AAAA"]),
     ".".join([base64.urlsafe_b64encode(b"\xff\xfe").decode(), "e30", "AAAA"])],
)  # fmt: skip
def test_what_is_no_token_at_all_is_refused(verifier: Authenticator, token: str) -> None:
    assert refused(lambda: verifier.verify(token)).reason in ("malformed", "unknown_key")


def test_a_header_that_claims_more_than_is_understood_is_refused(verifier: Authenticator) -> None:
    verifier.verify(Forge(header={"typ": "JWT"})())
    assert refused(lambda: verifier.verify(Forge(header={"crit": ["exp"], "exp": 1})())).status == 401
    for stranger in ({"jwk": {"kty": "oct", "k": "AAAA"}}, {"jku": "http://127.0.0.1/keys"}, {"x5u": "http://x/"}):
        forge = Forge(secrets.token_urlsafe(48), header=stranger)
        assert refused(lambda forge=forge: verifier.verify(forge())).reason == "signature"  # type: ignore[misc]


def test_signed_json_that_is_no_object_of_claims_is_refused(verifier: Authenticator) -> None:
    header = {"kid": Keys.from_settings(settings()).present.kid}
    for body in (b"[]", b"7", b"null", b"{", b"\xff", b"[" * 2_500, b'{"exp":' + b"9" * 2_000 + b"}"):
        token = jwt.api_jws.encode(body, SECRET, "HS256", headers=header)
        assert refused(lambda token=token: verifier.verify(token)).status == 401  # type: ignore[misc]


def test_the_cache_of_tokens_is_bounded_and_still_right(
    verifier: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_MAX_CACHED_TOKENS", 10)
    tokens = [Forge()() for _ in range(40)]
    for token in tokens:
        verifier.verify(token)
        assert len(verifier._verified) <= 10
    assert all(verifier.verify(token).name == "ada" for token in tokens)


def test_a_refused_token_is_not_kept(verifier: Authenticator) -> None:
    before = dict(verifier._verified)
    refused(lambda: verifier.verify(Forge(secrets.token_urlsafe(48))()))
    assert dict(verifier._verified) == before


# ---------------------------------------------------------------- Ed25519 and rotation


def key_file(folder: Path) -> tuple[Path, Ed25519PrivateKey]:
    key = Ed25519PrivateKey.generate()
    path = folder / f"{secrets.token_hex(4)}.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path, key


def with_keys(**changes: Any) -> Keys:
    return Keys.from_settings(Settings.model_validate(changes))


def sqlite(folder: Path) -> Database:
    made = migrated(folder / "weather.db")
    add(made)
    return made


def test_tokens_of_a_key_file_are_signed_by_eddsa_and_verified_by_its_public_half(tmp_path: Path) -> None:
    path, key = key_file(tmp_path)
    keys = with_keys(jwt_key_file=path)
    with opened(sqlite(tmp_path), keys) as made:
        token = made.token("ada", PASSWORD, HERE).access_token
        assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "JWT", "kid": keys.present.kid}
        claims = jwt.decode(token, key.public_key(), ["EdDSA"], audience="weather_endpoint", issuer="weather_platform")
        assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("ada", "predict", 900)
        assert made.verify(token) == Subject("ada", frozenset({"predict"}))
        forge = Forge(Ed25519PrivateKey.generate(), "EdDSA", {"kid": keys.present.kid})
        assert refused(lambda: made.verify(forge())).reason == "signature"


def test_the_public_key_is_no_secret_to_sign_with(tmp_path: Path) -> None:
    path, key = key_file(tmp_path)
    keys = with_keys(jwt_key_file=path)
    public = key.public_key()
    with opened(sqlite(tmp_path), keys) as made:
        assert made.verify(Forge(key, "EdDSA", {"kid": keys.present.kid})()).name == "ada"
        for secret in (
            public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            public.public_bytes_raw(),
        ):
            now = int(time.time())
            claims = {"sub": "ada", "iat": now, "exp": now + 60, "aud": "weather_endpoint", "iss": "weather_platform"}
            claims |= {"jti": "x", "scope": "admin", "gen": 1}
            head = {"alg": "HS256", "typ": "JWT", "kid": keys.present.kid}
            signed = b".".join(base64.urlsafe_b64encode(json.dumps(x).encode()).rstrip(b"=") for x in (head, claims))
            signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(signed, secret)
            token = (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()
            assert refused(lambda token=token: made.verify(token)).reason == "algorithm"  # type: ignore[misc]


def test_tokens_outlive_a_rotation_until_the_former_key_is_removed(tmp_path: Path) -> None:
    database = sqlite(tmp_path)
    path, _ = key_file(tmp_path)
    first, second = SECRET, secrets.token_urlsafe(48)
    with opened(database, with_keys(jwt_secret=first)) as made:
        of_first = made.token("ada", PASSWORD, HERE).access_token
    with opened(database, with_keys(jwt_secret=second, jwt_previous_secrets=first)) as made:
        of_second = made.token("ada", PASSWORD, HERE).access_token
        assert made.verify(of_first).name == made.verify(of_second).name == "ada"
        assert jwt.get_unverified_header(of_second)["kid"] != jwt.get_unverified_header(of_first)["kid"]
    with opened(database, with_keys(jwt_key_file=path, jwt_previous_secrets=second)) as made:
        assert made.verify(of_second).name == "ada"
        assert refused(lambda: made.verify(of_first)).reason == "unknown_key"
        of_file = made.token("ada", PASSWORD, HERE).access_token
    with opened(database, with_keys(jwt_secret=first, jwt_previous_key_files=str(path))) as made:
        assert made.verify(of_file).name == "ada"
        assert refused(lambda: made.verify(of_second)).reason == "unknown_key"


def test_from_settings_there_is_no_authenticator_without_a_key(tmp_path: Path) -> None:
    database = sqlite(tmp_path)
    with pytest.raises(SettingsError, match="tokens cannot be signed"):
        Authenticator.from_settings(Settings(), database)
    made = Authenticator.from_settings(
        settings(jwt_issuer="us", jwt_audience="them", jwt_lifetime_seconds=30), database
    )
    made.start()
    issued = made.token("ada", PASSWORD, HERE)
    assert issued.expires_in == 30
    assert made.verify(issued.access_token).name == "ada"
    assert refused(lambda: made.verify(Forge()())).reason in ("audience", "issuer")
    made.stop()


# ---------------------------------------------------------------- logins


def test_a_login_gives_a_token_with_every_claim(authenticator: Authenticator) -> None:
    first, second = (authenticator.token("ada", PASSWORD, HERE) for _ in range(2))
    assert first.answer() == {
        "access_token": first.access_token, "token_type": "Bearer", "expires_in": 900, "scope": "predict",
    }  # fmt: skip
    claims = [jwt.decode(x.access_token, SECRET, ["HS256"], audience="weather_endpoint") for x in (first, second)]
    assert claims[0].keys() == {"iss", "aud", "sub", "iat", "exp", "jti", "scope", "gen"}
    assert claims[0]["jti"] != claims[1]["jti"]
    assert claims[0]["exp"] - claims[0]["iat"] == 900
    assert authenticator.verify(first.access_token) == Subject("ada", frozenset({"predict"}))


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", WRONG),
        ("ada", PASSWORD.upper()),
        ("ada", PASSWORD + " "),
        ("ada", PASSWORD[:-1]),
        ("bob", PASSWORD),
        ("Ada", PASSWORD),
        ("ada ", PASSWORD),
        ("ada\0", PASSWORD),
        ("\ud800", PASSWORD),
        ("x" * 5_000, PASSWORD),
        ("", PASSWORD),
        ("ada", ""),
        ("", ""),
        ("ada", "x" * 1_025),
        ("ada", "ü" * 600),
        ("ada", PASSWORD + "\0"),
        ("ada", "\ud800"),
        ("' OR '1'='1", "' OR '1'='1"),
    ],
)
def test_a_login_that_is_not_exactly_right_gets_one_and_the_same_answer(
    authenticator: Authenticator, name: str, password: str
) -> None:
    error = refused(lambda: authenticator.token(name, password, HERE))
    assert (error.reason, error.status, error.retry_after_s) == ("credentials", 401, None)
    assert error.problem() == AuthError("credentials").problem()
    assert error.headers() == AuthError("credentials").headers()
    authenticator.token("ada", PASSWORD, HERE)


def test_an_unknown_user_a_disabled_one_and_a_wrong_password_cost_the_same_work(database: Database) -> None:
    add(database, password_hash=HASH)
    add(database, "eve", password_hash=HASH)
    database.set_user_disabled("eve", True)
    with opened(database) as made:
        spent: dict[str, list[float]] = {"ada": [], "nobody": [], "NO NAME": [], "eve": []}
        for attempt in range(8):
            for name, seconds in spent.items():
                begun = time.thread_time()
                # Each from another address, so that no lock falls.
                refused(lambda name=name, n=attempt: made.token(name, WRONG, f"10.0.0.{n}"))  # type: ignore[misc]
                seconds.append(time.thread_time() - begun)
    medians = {name: statistics.median(seconds) for name, seconds in spent.items()}
    assert max(medians.values()) < 1.5 * min(medians.values()), medians


def test_a_token_may_ask_for_fewer_scopes_and_never_for_more(database: Database) -> None:
    add(database, "ada", ("predict", "admin"))
    add(database, "bob", ("predict",))
    add(database, "nil", ())
    with opened(database) as made:
        assert made.token("ada", PASSWORD, HERE).scopes == ("predict", "admin")
        only = made.token("ada", PASSWORD, HERE, frozenset({"admin"}))
        assert made.verify(only.access_token).scopes == {"admin"}
        for name, asked in (("bob", {"admin"}), ("bob", {"predict", "admin"}), ("ada", {"root"})):
            error = refused(lambda n=name, a=asked: made.token(n, PASSWORD, HERE, frozenset(a)))  # type: ignore[misc]
            assert (error.reason, error.status) == ("login_scope", 400)
        assert refused(lambda: made.token("nil", PASSWORD, HERE)).reason == "login_scope"


@pytest.fixture
def long_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that holds until the test looks, however slow the machine is."""
    monkeypatch.setattr(limits, "LOCK", LONG_LOCK)


def test_five_failures_lock_the_user_at_this_address_and_nobody_else(
    authenticator: Authenticator, database: Database, long_lock: None
) -> None:
    add(database, "bob")
    for _ in range(5):
        assert refused(lambda: authenticator.token("ada", WRONG, HERE)).reason == "credentials"
    error = refused(lambda: authenticator.token("ada", PASSWORD, HERE))
    assert (error.reason, error.status) == ("locked", 429)
    assert error.retry_after_s is not None
    assert 0 < error.retry_after_s <= 60
    assert authenticator.token("ada", PASSWORD, "198.51.100.1").scopes == ("predict",)
    assert authenticator.token("bob", PASSWORD, HERE).scopes == ("predict",)


def test_an_unknown_user_is_locked_just_the_same(authenticator: Authenticator, long_lock: None) -> None:
    for _ in range(5):
        assert refused(lambda: authenticator.token("nobody", WRONG, HERE)).reason == "credentials"
    assert refused(lambda: authenticator.token("nobody", WRONG, HERE)).reason == "locked"
    assert refused(lambda: authenticator.token("no name", WRONG, HERE)).reason == "credentials"


def pass_time(database: Database, by: timedelta) -> None:
    """As if the failures had been this long ago."""
    with database.engine.connect() as connection:
        accounts: Sequence[str] = connection.execute(sa.text("SELECT account FROM failed_logins")).scalars().all()
    for account in accounts:
        with database.login_locked(account) as ledger:
            failed = ledger.failed()
            assert failed is not None
            until = failed.locked_until - by if failed.locked_until is not None else None
            earlier = type(failed)(
                failures=failed.failures, last_failed_at=failed.last_failed_at - by, locked_until=until
            )
            ledger.write(earlier, forget_before=datetime.now(UTC) - timedelta(days=30))


def test_the_lock_ends_comes_again_with_the_next_failure_and_is_gone_with_a_right_password(
    authenticator: Authenticator, database: Database, long_lock: None
) -> None:
    for _ in range(5):
        refused(lambda: authenticator.token("ada", WRONG, HERE))
    pass_time(database, timedelta(seconds=61))
    assert refused(lambda: authenticator.token("ada", WRONG, HERE)).reason == "credentials"
    assert refused(lambda: authenticator.token("ada", PASSWORD, HERE)).reason == "locked"
    pass_time(database, timedelta(seconds=61))
    authenticator.token("ada", PASSWORD, HERE)
    for _ in range(4):
        assert refused(lambda: authenticator.token("ada", WRONG, HERE)).reason == "credentials"
    authenticator.token("ada", PASSWORD, HERE)


def test_a_right_password_is_accepted_while_others_guess_at_its_address(database: Database) -> None:
    """Also of another user; and each guess has the same answer as ever."""
    add(database)
    add(database, "bob")
    told: list[str] = []

    async def attacked(made: Authenticator) -> list[Issued]:
        async def guess(name: str) -> None:
            while True:
                try:
                    await made.login(Login(name, WRONG), HERE)
                except AuthError as error:
                    told.append(error.reason)

        guessing = [asyncio.create_task(guess(name)) for name in ("ada", "ada", "ada", "eve")]
        while len(told) < 12:
            await asyncio.sleep(0.01)
        issued = [await made.login(Login(name, PASSWORD), HERE) for name in ("ada", "bob", "ada")]
        for each in guessing:
            each.cancel()
        return issued

    with opened(database) as made:
        issued = asyncio.run(attacked(made))
        assert [made.verify(each.access_token).name for each in issued] == ["ada", "bob", "ada"]
    assert set(told) == {"credentials"}


def test_many_wrong_logins_of_one_address_leave_room_for_others_at_it(database: Database) -> None:
    """More guesses than the worker takes without a pause."""
    add(database)

    async def attacked(made: Authenticator) -> Issued:
        guesses = [made.login(Login(f"user{number}", ""), HERE) for number in range(60)]
        said = await asyncio.gather(*guesses, return_exceptions=True)
        assert {getattr(each, "reason", None) for each in said} == {"credentials"}
        return await made.login(Login("ada", PASSWORD), HERE)

    with opened(database) as made:
        assert asyncio.run(attacked(made)).scopes == ("predict",)


def test_all_addresses_of_an_ipv6_network_count_as_one(authenticator: Authenticator, long_lock: None) -> None:
    for last in range(5):
        refused(lambda n=last: authenticator.token("ada", WRONG, f"2001:db8:0:1::{n}"))  # type: ignore[misc]
    assert refused(lambda: authenticator.token("ada", PASSWORD, "2001:db8:0:1:ffff::9")).reason == "locked"
    authenticator.token("ada", PASSWORD, "2001:db8:0:2::1")
    for _ in range(5):
        refused(lambda: authenticator.token("ada", WRONG, "::ffff:192.0.2.99"))
    assert refused(lambda: authenticator.token("ada", PASSWORD, "192.0.2.99")).reason == "locked"


def hammer(start: Barrier, url: str, secret: str) -> list[str]:
    """How six guesses are refused."""
    limits.LOCK = LONG_LOCK
    made = Authenticator.from_settings(Settings(jwt_secret=SecretStr(secret)), Database(url))
    start.wait(60)
    return [refused(lambda: made.token("ada", WRONG, HERE)).reason for _ in range(6)]


def test_workers_count_failures_together_so_that_only_five_guesses_are_looked_at(
    authenticator: Authenticator, url: str, long_lock: None
) -> None:
    said = list(chain.from_iterable(race(*((hammer, url, SECRET) for _ in range(3)))))
    assert (said.count("credentials"), said.count("locked")) == (5, 13)
    assert refused(lambda: authenticator.token("ada", PASSWORD, HERE)).reason == "locked"


def test_a_right_guess_among_many_at_once_is_not_told_after_the_lock_fell(
    authenticator: Authenticator, long_lock: None
) -> None:
    told: list[str] = []

    def guess(password: str) -> None:
        told.append(refused(lambda: authenticator.token("ada", password, HERE)).reason)

    for _ in range(4):
        guess(WRONG)
    threads = [threading.Thread(target=guess, args=(WRONG,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (told.count("credentials"), told.count("locked")) == (5, 5)


def test_many_right_logins_at_once_all_succeed(authenticator: Authenticator) -> None:
    names: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: names.append(
                authenticator.verify(authenticator.token("ada", PASSWORD, HERE).access_token).name
            )
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ["ada"] * 8


def test_logins_at_a_higher_rate_than_the_process_takes_are_refused(tmp_path: Path) -> None:
    with opened(sqlite(tmp_path)) as made:
        while (error := refused(lambda: made.token("ada", "", HERE))).reason == "credentials":
            pass
        assert (error.reason, error.status) == ("logins", 429)
        assert error.headers()["retry-after"] == "1"


def test_more_logins_at_once_than_the_process_takes_are_refused(tmp_path: Path) -> None:
    async def flood(made: Authenticator) -> list[str]:
        async def one() -> str:
            try:
                return (await made.login(Login("ada", PASSWORD), HERE)).scopes[0]
            except AuthError as error:
                return error.reason

        return list(await asyncio.gather(*(one() for _ in range(20))))

    with opened(sqlite(tmp_path)) as made:
        said = asyncio.run(flood(made))
        assert (said.count("predict"), said.count("busy")) == (16, 4)
        assert asyncio.run(flood(made)).count("predict") == 16, "afterwards there is room again"


# ---------------------------------------------------------------- changes of users


def test_a_disabled_user_is_refused_at_once_at_login_and_soon_with_its_tokens(
    authenticator: Authenticator, database: Database
) -> None:
    token = authenticator.token("ada", PASSWORD, HERE).access_token
    assert authenticator.verify(token).name == "ada"
    database.set_user_disabled("ada", True)
    assert refused(lambda: authenticator.token("ada", PASSWORD, HERE)).reason == "credentials"
    eventually(lambda: is_refused(authenticator, token, "user"))
    database.set_user_disabled("ada", False)
    again = authenticator.token("ada", PASSWORD, HERE).access_token
    assert authenticator.verify(again).name == "ada", "at once, though the users were not read since"
    time.sleep(5 * SOON_SECONDS)
    assert authenticator.verify(again).name == "ada"
    assert refused(lambda: authenticator.verify(token)).reason == "user", "a token of before does not come back"


def test_a_new_password_ends_the_tokens_of_before(authenticator: Authenticator, database: Database) -> None:
    token = authenticator.token("ada", PASSWORD, HERE).access_token
    assert authenticator.verify(token).name == "ada"
    database.set_user_password("ada", Passwords().hash("another fine password"))
    assert refused(lambda: authenticator.token("ada", PASSWORD, HERE)).reason == "credentials"
    eventually(lambda: is_refused(authenticator, token, "user"))
    new = authenticator.token("ada", "another fine password", HERE).access_token
    assert authenticator.verify(new).name == "ada"


def test_a_user_of_other_scopes_gets_tokens_of_those_and_the_ones_of_before_end(
    authenticator: Authenticator, database: Database
) -> None:
    token = authenticator.token("ada", PASSWORD, HERE).access_token
    database.set_user_scopes("ada", ["admin"])
    eventually(lambda: is_refused(authenticator, token, "user"))
    assert authenticator.token("ada", PASSWORD, HERE).scopes == ("admin",)


def test_tokens_of_a_deleted_user_are_none_of_the_next_one_of_that_name(database: Database) -> None:
    add(database)
    with opened(database) as made:
        token = Forge()(iat=int(time.time()) - 60, exp=int(time.time()) + 60)
        assert made.verify(token).name == "ada"
        database.delete_user("ada")
        eventually(lambda: is_refused(made, token, "user"))
        add(database, age=timedelta(0))
        time.sleep(5 * SOON_SECONDS)
        assert is_refused(made, token, "user")
        assert made.verify(made.token("ada", PASSWORD, HERE).access_token).name == "ada"


def test_a_user_who_was_added_a_moment_ago_is_let_in_and_one_that_is_gone_is_not(database: Database) -> None:
    with opened(database, users_every_seconds=3600) as made:
        add(database)
        token = made.token("ada", PASSWORD, HERE).access_token
        assert made.verify(token).name == "ada", "the token is newer than what was read of the users"
        assert refused(lambda: made.verify(Forge()(sub="eve", iat=int(time.time()) - 60, exp=int(time.time()) + 60)))
    with opened(database) as made:
        assert made.verify(token).name == "ada"
        with database.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM users"))
        eventually(lambda: is_refused(made, token, "user"))


def test_while_the_database_is_away_tokens_hold_logins_do_not_and_it_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = sqlite(tmp_path)
    with opened(database) as made, caplog.at_level(logging.WARNING, logger="weather_platform.serving.auth"):
        token = made.token("ada", PASSWORD, HERE).access_token
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE users RENAME TO away"))
        eventually(lambda: "cannot be read" in caplog.text)
        time.sleep(5 * SOON_SECONDS)
        assert caplog.text.count("the users cannot be read") == 1
        assert made.verify(token).name == "ada"
        error = refused(lambda: made.token("ada", PASSWORD, HERE))
        assert (error.reason, error.status) == ("unavailable", 503)
        with database.engine.begin() as connection:
            connection.execute(sa.text("ALTER TABLE away RENAME TO users"))
        eventually(lambda: "can be read again" in caplog.text)
        made.token("ada", PASSWORD, HERE)


def test_before_the_users_were_ever_read_nobody_is_let_in(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'weather.db'}")
    with opened(database) as made:
        error = refused(lambda: made.verify(Forge()()))
        assert (error.reason, error.status) == ("unavailable", 503)
        database.migrate()
        add(database)
        eventually(lambda: not is_refused(made, Forge()(), "unavailable"))
        assert made.verify(Forge()()).name == "ada"


# ---------------------------------------------------------------- what a login sends


FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@pytest.mark.parametrize(
    ("kind", "body", "login"),
    [
        (JSON, b'{"username": "ada", "password": "blue whales"}', Login("ada", "blue whales")),
        ("Application/JSON; charset=utf-8", '{"username":"ada","password":"ü"}'.encode(), Login("ada", "ü")),
        (JSON, b'{"username":"","password":""}', Login("", "")),
        (JSON, b'{"username":"a","password":"b","scope":"admin"}', Login("a", "b", frozenset({"admin"}))),
        (FORM, b"username=a&password=b&scope=admin+predict", Login("a", "b", frozenset({"admin", "predict"}))),
        (JSON, b'{"username":"a","password":"b","scope":null}', Login("a", "b")),
        (FORM, b"username=ada&password=blue+whales", Login("ada", "blue whales")),
        (FORM, b"grant_type=password&username=ada&password=%C3%BC%26&scope=&client_id=x", Login("ada", "ü&")),
        (FORM, b"username=&password=", Login("", "")),
    ],
)  # fmt: skip
def test_a_login_is_read_from_a_form_and_from_json(kind: str, body: bytes, login: Login) -> None:
    assert read_login(kind, body) == login


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("", b'{"username":"a","password":"b"}'),
        ("text/plain", b"username=a&password=b"),
        ("multipart/form-data; boundary=x", b"--x--"),
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b'["username","password"]'),
        (JSON, b'{"username":"a"}'),
        (JSON, b'{"username":"a","password":7}'),
        (JSON, b'{"username":["a"],"password":"b"}'),
        (JSON, b'{"username":"a","password":"b","scope":["admin"]}'),
        (JSON, b'{"username":"a","password":"b","password":"c"}'),
        (JSON, b'{"username":"a","password":"\xff"}'),
        (JSON, b"[" * 8_000),
        (JSON, b'{"username":"a","password":"b","grant_type":"refresh_token"}'),
        (FORM, b""),
        (FORM, b"username"),
        (FORM, b"username=a&password=b&password=c"),
        (FORM, b"username=a&password=%FF"),
        (FORM, b"username=a&password=\xff"),
        (FORM, b"username=a&grant_type=client_credentials&password=b"),
        (FORM, b"username=a"),
        (FORM, b"&".join(b"f%d=1" % n for n in range(30)) + b"&username=a&password=b"),
    ],
)
def test_what_is_no_login_is_refused_and_not_repeated(kind: str, body: bytes) -> None:
    error = refused(lambda: read_login(kind, body))
    assert (error.reason, error.status) == ("login_format", 400)
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


def test_a_login_longer_than_any_can_be_is_refused_unread() -> None:
    body = b'{"username":"a","password":"' + b"x" * MAX_LOGIN_BYTES + b'"}'
    error = refused(lambda: read_login(JSON, body))
    assert (error.reason, error.status) == ("login_size", 413)
    assert read_login(JSON, b'{"username":"a","password":"' + b"x" * 4_000 + b'"}').username == "a"


# ---------------------------------------------------------------- nothing is told


def test_no_password_token_or_key_is_in_any_log_repr_error_or_traceback(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    add(database)
    told: list[str] = []

    def note(ask: Callable[[], object]) -> None:
        try:
            told.append(repr(ask()))
        except WeatherError as error:
            told.extend([repr(error), str(error), repr(vars(error)), "".join(traceback.format_exception(error))])
            if isinstance(error, AuthError):
                told.extend([json.dumps(error.problem()), repr(error.headers())])

    with opened(database) as made:
        issued = made.token("ada", PASSWORD, HERE)
        forged = Forge(secrets.token_urlsafe(48))()
        note(lambda: issued)
        note(lambda: made)
        note(lambda: made._keys)
        note(lambda: made.verify(issued.access_token))
        note(lambda: made.verify(forged))
        note(lambda: made.verify(issued.access_token[:-9]))
        note(lambda: made.verify(Forge()(exp="soon")))
        for name in ("ada", "nobody", WRONG):
            for password in (WRONG, WRONG, WRONG, WRONG, WRONG, PASSWORD):
                note(lambda name=name, password=password: made.token(name, password, HERE))  # type: ignore[misc]
        note(lambda: read_login(JSON, json.dumps({"username": "ada", "password": WRONG}).encode()))
        note(lambda: read_login(JSON, json.dumps({"username": "ada", "password": [WRONG]}).encode()))
        note(lambda: read_login(JSON, json.dumps({"username": "ada", "password": WRONG}).encode()[:-1]))
        note(lambda: read_login(FORM, f"username=ada&password={WRONG}&password=x".encode()))
        note(lambda: Settings.model_validate({"jwt_secret": SECRET, "jwt_previous_secrets": SECRET[::-1]}))
        with database.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE failed_logins"))
        note(lambda: made.token("ada", PASSWORD, "198.51.100.1"))
        with database.engine.connect() as connection:
            told.append(repr(connection.execute(sa.text("SELECT * FROM users")).all()))
    text = "\n".join([*told, caplog.text])
    assert "login refused: ada from 192.0.2.7" in text
    assert "login refused: an unknown name from" in text
    for hidden in (PASSWORD, WRONG, WRONG.replace(" ", "+"), SECRET, SECRET[::-1], issued.access_token, forged):
        assert hidden not in text
        assert hidden[-20:] not in text
    hashes = text.count("$argon2id$")
    assert hashes == 1, "the one that the test itself read from the table"
