"""Who asks, and whether they may: logins, tokens, and the middleware in front of every route that is not open.

What belongs here: deciding. What does not: keys (``keys``), passwords (``users``), how often one may try (``limits``),
routes (``routes``). A token is a JWT of at most 15 minutes; whoever holds it is its user. Nothing here logs or tells a
password, a token or a key, and an AuthError has no cause that could.

How soon a change of a user is felt: each process reads the table of users every five seconds, so tokens of a disabled
user, and tokens from before its password changed, end within that time. While the database cannot be read, what was
read last holds and nobody can log in, so that all tokens end within their lifetime.
"""

import asyncio
import hmac
import json
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil
from threading import Event, Lock, Thread
from time import monotonic, time
from typing import Any, Literal
from urllib.parse import parse_qsl

import jwt

from weather_platform.database import Database, FailedLogins, User
from weather_platform.errors import WeatherError
from weather_platform.serving.keys import Keys
from weather_platform.serving.limits import FORGET_AFTER, RateLimit, after_failure, locked_seconds, network
from weather_platform.serving.users import SCOPES, BusyError, Passwords, is_name, password_bytes
from weather_platform.settings import Settings

LONGEST_LIFETIME_SECONDS = 900
CLOCK_SKEW_SECONDS = 5
"""How far the clock of the host that issued a token may be ahead."""

USERS_EVERY_SECONDS = 5.0
MAX_LOGIN_BYTES = 8_192

_MAX_TOKEN_CHARACTERS = 4_096
_MAX_CACHED_TOKENS = 4_096
_LOGINS_PER_SECOND, _LOGINS_IN_A_ROW = 10.0, 60.0
"""Of one worker: what passwords may take of its cores. None for an address, which a guesser shares with others."""

_LOGINS_AT_ONCE, _LOGINS_OF_AN_ACCOUNT = 64, 16
LONGEST_LOGIN_SECONDS = 25.0
"""How long a login may wait for its turn; clients wait for 30 seconds."""

_CLAIMS = ("iss", "aud", "sub", "iat", "exp", "jti", "scope", "gen")
_GENERATIONS = 2**31

_log = logging.getLogger(__name__)

Reason = Literal[
    "no_token", "malformed", "algorithm", "unknown_key", "signature", "claims", "issuer", "audience", "future",
    "lifetime", "expired", "user", "scope", "rate", "login_format", "login_size", "login_scope", "credentials",
    "locked", "logins", "busy", "unavailable",
]  # fmt: skip
_NOT_VALID = (401, "the token is not valid; POST /v1/token gives another one")
_REFUSALS: Mapping[Reason, tuple[int, str]] = {
    "no_token": (401, "send a token in the header `Authorization: Bearer ...`; POST /v1/token gives one"),
    "malformed": _NOT_VALID,
    "algorithm": _NOT_VALID,
    "unknown_key": _NOT_VALID,
    "signature": _NOT_VALID,
    "claims": _NOT_VALID,
    "issuer": _NOT_VALID,
    "audience": _NOT_VALID,
    "future": _NOT_VALID,
    "lifetime": _NOT_VALID,
    "user": _NOT_VALID,
    "expired": (401, "the token has expired; POST /v1/token gives another one"),
    "scope": (403, "the token does not have the scope that this route needs"),
    "rate": (429, "this user sends more requests than are allowed; slow down"),
    "login_format": (400, "send username and password as a form or as one JSON object of texts, each once"),
    "login_size": (413, f"a login has at most {MAX_LOGIN_BYTES} bytes"),
    "login_scope": (400, "the user does not have every scope that was asked for"),
    "credentials": (401, "user name or password is wrong"),
    "locked": (429, "too many failed logins in a row; try again in a few seconds"),
    "logins": (429, "too many logins at once; slow down, and keep tokens until they expire"),
    "busy": (503, "too many logins at once; try again in a few seconds"),
    "unavailable": (503, "users cannot be looked up at the moment; try again later"),
}
REASONS = tuple(_REFUSALS)


class AuthError(WeatherError):
    """A request or a login that is refused. `reason` is for metrics and logs; the text tells no more than it should."""

    def __init__(self, reason: Reason, retry_after_s: float | None = None) -> None:
        self.reason: Reason = reason
        self.status, self.detail = _REFUSALS[reason]
        self.retry_after_s = retry_after_s
        super().__init__(self.detail)

    def headers(self, needed_scope: str | None = None) -> dict[str, str]:
        """The headers of the answer, beside its type and length."""
        headers = {"cache-control": "no-store"}
        if self.status in (401, 403):
            challenge = 'Bearer realm="weather_platform"'
            if self.reason == "scope":
                challenge += f', error="insufficient_scope", scope="{needed_scope}"'
            elif self.reason not in ("no_token", "credentials"):
                challenge += f', error="invalid_token", error_description="{self.detail}"'
            headers["www-authenticate"] = challenge
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, ceil(self.retry_after_s)))
        return headers

    def problem(self, request_id: str | None = None) -> dict[str, object]:
        """The body of the answer (RFC 9457)."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [],
            "request_id": request_id,
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """Who asks, and for what they may."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True)
class Issued:
    """One token, given to who logged in."""

    access_token: str = field(repr=False)
    expires_in: int
    scopes: tuple[str, ...]

    def answer(self) -> dict[str, object]:
        """As OAuth 2.0 writes it."""
        return {
            "access_token": self.access_token,
            "token_type": "Bearer",
            "expires_in": self.expires_in,
            "scope": " ".join(self.scopes),
        }


@dataclass(frozen=True)
class Login:
    """What a login sends. `scopes`: those that the token shall have; None for all of the user."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    scopes: frozenset[str] | None = None


def read_login(content_type: str, body: bytes) -> Login:
    """The login in a form or JSON body; AuthError if it is none. Fields that OAuth clients add are passed over."""
    if len(body) > MAX_LOGIN_BYTES:
        raise AuthError("login_size")
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            fields = json.loads(body, object_pairs_hook=_each_once)
        elif kind == "application/x-www-form-urlencoded":
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=20
            )
            fields = _each_once(pairs)
        else:
            raise AuthError("login_format")
    except (ValueError, RecursionError):
        raise AuthError("login_format") from None
    if not isinstance(fields, dict):
        raise AuthError("login_format")
    username, password, scope = fields.get("username"), fields.get("password"), fields.get("scope") or ""
    if not isinstance(username, str) or not isinstance(password, str) or not isinstance(scope, str):
        raise AuthError("login_format")
    if fields.get("grant_type") not in (None, "", "password"):
        raise AuthError("login_format")
    return Login(username, password, frozenset(scope.split()) or None)


class Authenticator:
    """Gives tokens and verifies them. `start` before the first request, `stop` at the end; threads may share it."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        *,
        issuer: str,
        audience: str,
        lifetime_seconds: int,
        rate_per_second: float,
        users_every_seconds: float = USERS_EVERY_SECONDS,
    ) -> None:
        self._database, self._keys = database, keys
        self._issuer, self._audience, self._lifetime_seconds = issuer, audience, lifetime_seconds
        self._passwords = Passwords()
        self._hash_of_nobody = self._passwords.hash(uuid.uuid4().hex)
        self._account_key = keys.derived(b"failed logins")
        self._logins = RateLimit(_LOGINS_PER_SECOND, _LOGINS_IN_A_ROW)
        self._requests = RateLimit(rate_per_second, 2 * rate_per_second)
        self._login_thread = ThreadPoolExecutor(1, "login")
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()
        self._users_every_seconds = users_every_seconds
        self._known: _KnownUsers | None = None
        self._read_failed = False
        self._verified: dict[str, _Verified] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._reader: Thread | None = None

    @classmethod
    def from_settings(cls, settings: Settings, database: Database) -> "Authenticator":
        """With the keys and limits of the settings. SettingsError without a key, or with one that is no good."""
        return cls(
            database,
            Keys.from_settings(settings),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            lifetime_seconds=settings.jwt_lifetime_seconds,
            rate_per_second=settings.rate_limit_per_second,
        )

    def start(self) -> None:
        """Read the users, and go on reading them in a thread of its own. An outage is logged, not raised."""
        self._read_users()
        self._reader = Thread(target=self._keep_reading, name="users", daemon=True)
        self._reader.start()

    def stop(self) -> None:
        """End the threads."""
        self._stopping.set()
        if self._reader is not None:
            self._reader.join()
        self._login_thread.shutdown(cancel_futures=True)

    async def login(self, login: Login, address: str) -> Issued:
        """`token` for a route: in a thread of its own, so that a flood of logins takes nobody else's.

        Where `token` refuses because of failed logins or too many at once, this waits for its turn: a right password is
        accepted while others guess. Logins of a user at an address take turns, in the order in which they came.
        AuthError when too many wait, or after LONGEST_LOGIN_SECONDS.
        """
        account = self._account(login.username, network(address))
        if self._waiting[account] >= _LOGINS_OF_AN_ACCOUNT or self._waiting.total() >= _LOGINS_AT_ONCE:
            raise AuthError("busy", 2)
        self._waiting[account] += 1
        give_up = monotonic() + LONGEST_LOGIN_SECONDS
        try:
            async with self._turns.setdefault(account, asyncio.Lock()):
                while True:
                    try:
                        return await asyncio.get_running_loop().run_in_executor(
                            self._login_thread, self.token, login.username, login.password, address, login.scopes
                        )
                    except AuthError as refused:
                        wait = refused.retry_after_s or 0.0
                        if refused.reason not in ("locked", "logins") or monotonic() + wait > give_up:
                            raise
                    await asyncio.sleep(wait)
        finally:
            self._waiting[account] -= 1
            if not self._waiting[account]:
                del self._waiting[account], self._turns[account]

    def token(self, username: str, password: str, address: str, scopes: frozenset[str] | None = None) -> Issued:
        """A token for who has this password, or AuthError: the same, after the same work, whatever of it was wrong.

        Takes about 40 ms of a core in the calling thread: a route awaits `login` instead.
        """
        caller = network(address)
        if wait := self._logins.wait_seconds("all"):
            raise AuthError("logins", wait)
        if not username or (secret := password_bytes(password)) is None:
            raise AuthError("credentials")
        try:
            user = self._logged_in(username, secret, caller)
        except BusyError:
            raise AuthError("busy", 2) from None
        except AuthError:
            raise
        except WeatherError as error:
            _log.error("a login could not be looked at: %s", error)
            raise AuthError("unavailable", self._users_every_seconds) from None
        asked = tuple(scope for scope in user.scopes if scopes is None or scope in scopes)
        if not asked or (scopes is not None and len(asked) != len(scopes)):
            raise AuthError("login_scope")
        return Issued(self._signed(user, asked), self._lifetime_seconds, asked)

    def unlock(self, username: str, address: str) -> bool:
        """Forget the failed logins of a user at an address; whether there were any."""
        with self._database.login_locked(self._account(username, network(address))) as ledger:
            failed = ledger.failed()
            ledger.write(None, forget_before=datetime.now(UTC) - FORGET_AFTER)
        return failed is not None

    def verify(self, token: str) -> Subject:
        """Whose token this is, or AuthError. Verified once, then looked up until it expires."""
        held = self._verified.get(token)
        if held is not None and held.known is self._known and time() < held.expires_at:
            return held.subject
        return self._verify_anew(token)

    def wait_seconds(self, subject: Subject) -> float:
        """Count one request of the subject; 0 if it may be answered, else the seconds until one may."""
        return self._requests.wait_seconds(subject.name)

    # ---------------------------------------------------------------- logins

    def _logged_in(self, username: str, secret: bytes, caller: str) -> User:
        """The user of this name and password; AuthError otherwise."""
        account = self._account(username, caller)
        if wait := locked_seconds(self._database.failed_logins(account), datetime.now(UTC)):
            raise AuthError("locked", wait)
        # A name that no user can have is looked up as one that no user has: the same work.
        user = self._database.user(username if is_name(username) else "nobody at all")
        right = self._passwords.matches(user.password_hash if user else self._hash_of_nobody, secret)
        right = right and user is not None and not user.disabled
        if wait := self._count(account, right):
            raise AuthError("locked", wait)
        who = user.name if user else "an unknown name"
        if user is None or not right:
            _log.warning("login refused: %s from %s", who, caller)
            raise AuthError("credentials")
        _log.info("login: %s from %s", who, caller)
        return user

    def _count(self, account: str, right: bool) -> float:
        """Count the login, unless the account was locked since it began: then it tells nothing, and is not looked at.

        So however many logins are tried at once, only those before the lock can succeed.
        """
        with self._database.login_locked(account) as ledger:
            now, failed = datetime.now(UTC), ledger.failed()
            if wait := locked_seconds(failed, now):
                return wait
            after: FailedLogins | None = None if right else after_failure(failed, now)
            if after is not failed:
                ledger.write(after, forget_before=now - FORGET_AFTER)
        return 0.0

    def _account(self, username: str, caller: str) -> str:
        """Stands for name and address in the database, which keeps neither: a name may be a mistyped password."""
        text = f"{username}\0{caller}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._account_key, text, "sha256").hex()

    def _signed(self, user: User, scopes: tuple[str, ...]) -> str:
        issued_at = int(time())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user.name,
            "iat": issued_at,
            "exp": issued_at + self._lifetime_seconds,
            "jti": uuid.uuid4().hex,
            "scope": " ".join(scopes),
            "gen": user.generation,
        }
        key = self._keys.present
        return jwt.encode(claims, self._keys.signing_key, algorithm=key.algorithm, headers={"kid": key.kid})

    # ---------------------------------------------------------------- tokens

    def _verify_anew(self, token: str) -> Subject:
        known = self._known
        if known is None:
            raise AuthError("unavailable", self._users_every_seconds)
        with self._lock:
            held = self._verified.pop(token, None)
        claims = held.claims if held is not None else self._claims(token)
        if time() >= claims["exp"]:
            raise AuthError("expired")
        known.require(claims)
        subject = held.subject if held is not None else Subject(claims["sub"], frozenset(claims["scope"].split()))
        with self._lock:
            # The first are those that were verified longest ago.
            while len(self._verified) >= _MAX_CACHED_TOKENS:
                self._verified.pop(next(iter(self._verified)))
            self._verified[token] = _Verified(subject, claims["exp"], known, claims)
        return subject

    def _claims(self, token: str) -> dict[str, Any]:
        """What a token says that one of our keys signed, each claim of its type and none of them too long from now."""
        if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
            raise AuthError("malformed")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise AuthError("malformed") from None
        key = self._keys.verifying.get(str(header.get("kid")))
        if key is None:
            raise AuthError("unknown_key")
        # The key says the algorithm, never the token: a public key is no HMAC secret, and `none` is nothing.
        if header.get("alg") != key.algorithm:
            raise AuthError("algorithm")
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                issuer=self._issuer,
                audience=self._audience,
                options={"require": list(_CLAIMS), "strict_aud": True, "verify_iat": False},
            )
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise AuthError(_reason(error)) from None
        if not _well_formed(claims):
            raise AuthError("claims")
        if claims["iat"] > time() + CLOCK_SKEW_SECONDS:
            raise AuthError("future")
        if claims["exp"] - claims["iat"] > LONGEST_LIFETIME_SECONDS:
            raise AuthError("lifetime")
        return claims

    # ---------------------------------------------------------------- users

    def _keep_reading(self) -> None:
        while not self._stopping.wait(self._users_every_seconds):
            self._read_users()

    def _read_users(self) -> None:
        """Read all users; when that fails, what was read before holds. Logged when it begins to fail and to work."""
        read_at = time()
        try:
            users = self._database.users()
        except WeatherError as error:
            if not self._read_failed:
                _log.error("the users cannot be read, what was read last holds: %s", error)
            self._read_failed = True
            return
        if self._read_failed:
            _log.warning("the users can be read again")
        self._read_failed = False
        self._known = _KnownUsers(read_at, {user.name: user for user in users})


class AuthMiddleware:
    """Pure ASGI: lets a request through whose token has the scope that its route needs, with its Subject in the state.

    `required_scope` gives the scope of a path and method, None for an open one. `on_refused` is told every reason.
    """

    def __init__(
        self,
        app: Any,
        authenticator: Authenticator,
        required_scope: Callable[[str, str], str | None],
        on_refused: Callable[[str], None],
    ) -> None:
        self._app, self._authenticator = app, authenticator
        self._required_scope, self._on_refused = required_scope, on_refused

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 401, 403, 429 or 503, or hand the request on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            self._on_refused("no_token")
            await send({"type": "websocket.close", "code": 1008})
            return
        needed = self._required_scope(scope["path"], scope["method"])
        if needed is not None:
            state = scope.setdefault("state", {})
            try:
                state["subject"] = self._let_in(scope["headers"], needed)
            except AuthError as error:
                self._on_refused(error.reason)
                await _answer(send, error, needed, state.get("request_id"))
                return
        await self._app(scope, receive, send)

    def _let_in(self, headers: list[tuple[bytes, bytes]], needed: str) -> Subject:
        authorization = None
        for name, value in headers:
            if name == b"authorization":
                if authorization is not None:
                    raise AuthError("malformed")
                authorization = value
        if authorization is None:
            raise AuthError("no_token")
        if authorization[:7].lower() != b"bearer ":
            raise AuthError("no_token")
        subject = self._authenticator.verify(authorization[7:].decode("latin-1").strip(" "))
        if needed not in subject.scopes:
            raise AuthError("scope")
        if wait := self._authenticator.wait_seconds(subject):
            raise AuthError("rate", wait)
        return subject


@dataclass(frozen=True, eq=False)
class _KnownUsers:
    """The table of users as it was read."""

    read_at: float  # seconds of the epoch, before the reading
    users: Mapping[str, User]

    def require(self, claims: Mapping[str, Any]) -> None:
        """AuthError if the user of the token is disabled, gone, or in another generation than the token."""
        user = self.users.get(claims["sub"])
        if user is None:
            # A token of after the reading: the user was added since, and its row was there when it logged in.
            if claims["iat"] + 1 <= self.read_at:
                raise AuthError("user")
        elif claims["iat"] < int(user.created_at.timestamp()):
            raise AuthError("user")  # of another user, who had the name before
        elif claims["gen"] < user.generation or (claims["gen"] == user.generation and user.disabled):
            raise AuthError("user")


@dataclass(frozen=True, eq=False, slots=True)
class _Verified:
    subject: Subject
    expires_at: int
    known: _KnownUsers
    claims: dict[str, Any]


async def _answer(send: Any, error: AuthError, needed: str, request_id: str | None) -> None:
    body = json.dumps(error.problem(request_id)).encode()
    headers = error.headers(needed) | {"content-type": "application/problem+json", "content-length": str(len(body))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _well_formed(claims: Mapping[str, Any]) -> bool:
    """Whether the claims that are there are of their types, and the scopes are known ones."""
    numbers = all(type(claims[name]) is int for name in ("iat", "exp", "gen")) and 1 <= claims["gen"] < _GENERATIONS
    texts = all(isinstance(claims[name], str) and claims[name] for name in ("sub", "jti", "scope"))
    return numbers and texts and is_name(claims["sub"]) and set(claims["scope"].split()) <= set(SCOPES)


def _reason(error: Exception) -> Reason:
    """Why PyJWT refused it."""
    reasons: tuple[tuple[type[Exception], Reason], ...] = (
        (jwt.ExpiredSignatureError, "expired"),
        (jwt.InvalidAudienceError, "audience"),
        (jwt.InvalidIssuerError, "issuer"),
        (jwt.InvalidSignatureError, "signature"),
        (jwt.InvalidAlgorithmError, "algorithm"),
        (jwt.DecodeError, "malformed"),
        (jwt.InvalidTokenError, "claims"),
    )
    return next((reason for kind, reason in reasons if isinstance(error, kind)), "malformed")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice")
    return fields
