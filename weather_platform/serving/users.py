"""Users of the endpoint: what a name, a password and a scope may be, and how passwords are hashed.

What belongs here: rules and argon2. What does not: the rows (``database``), logins and tokens (``auth``). No message
and no repr tells a password.

Rules of passwords are those of NIST SP 800-63B: length, no composition, nothing that is known or tells the user. Hashes
are argon2id with OWASP's parameters: 19 MiB, two passes, one lane, about 40 ms.
"""

import re
import unicodedata
from threading import Lock
from typing import Literal, get_args

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from weather_platform.errors import WeatherError

Scope = Literal["predict", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_BYTES = 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_COMMON = (
    "password", "passwort", "qwertyuiop", "1qaz2wsx3edc", "iloveyou", "letmein", "welcome", "administrator", "admin",
    "correcthorsebatterystaple", "abcdefghijkl", "weather", "weatherplatform", "changeme",
)  # fmt: skip
_AROUND = "0123456789!.?$#*_- @"
_ROWS = ("1234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "asdfghjkl", "zxcvbnm", "qwertzuiop")
_IN_ORDER = [each for row in _ROWS for each in (row, row[::-1])]
_REPEATED = re.compile(r"(.{1,8})\1+.{0,2}", re.DOTALL)
_FEW_CHARACTERS, _SHORTEST_WORD, _SHORTEST_RUN, _LEAST_LEFT = 3, 4, 4, 4
_LONGEST_WAIT_SECONDS = 5.0


class BusyError(WeatherError):
    """So many passwords wait to be verified that another one is not taken in."""


def require_name(name: str) -> None:
    """WeatherError unless this can be the name of a user."""
    if not is_name(name):
        raise WeatherError(
            "a user name has 1 to 64 of a-z, 0-9, '.', '_', '@' and '-', and begins with a letter or digit"
        )


def is_name(name: str) -> bool:
    """Whether this can be the name of a user."""
    return _NAME.fullmatch(name) is not None


def require_password(password: str, name: str) -> None:
    """WeatherError, which does not tell it, unless this can be the password of the user."""
    if password_bytes(password) is None:
        raise WeatherError(f"the password cannot be used: it has more than {MAX_PASSWORD_BYTES} bytes, or is no text")
    plain = _normal(password)
    if len(plain) < MIN_PASSWORD_CHARACTERS:
        raise WeatherError(f"the password is too short; use at least {MIN_PASSWORD_CHARACTERS} characters of any kind")
    if _is_known(plain.lower(), name):
        raise WeatherError(
            "the password is one of those that are tried first: the user's name, a common password, or characters in "
            "order or repeated, with little else; use several unrelated words"
        )


def password_bytes(password: str) -> bytes | None:
    """What is hashed: the same for each way to type the same text. None for what is no password: empty or too long."""
    if not password or len(password) > MAX_PASSWORD_BYTES:
        return None
    try:
        value = _normal(password).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return None
    return value if len(value) <= MAX_PASSWORD_BYTES else None


class Passwords:
    """argon2, one hash at a time in each process: it takes 19 MiB and a whole core, which the forecasts need too."""

    def __init__(self) -> None:
        self._argon2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._turn = Lock()

    def hash(self, password: str) -> str:
        """The hash of a password that passed `require_password`."""
        value = password_bytes(password)
        if value is None:
            raise WeatherError("the password cannot be used")
        return self._argon2.hash(value)

    def matches(self, password_hash: str, password: bytes) -> bool:
        """Whether this is the password. Takes the same time for each; BusyError after a long wait."""
        if not self._turn.acquire(timeout=_LONGEST_WAIT_SECONDS):
            raise BusyError("too many logins at once; try again in a few seconds")
        try:
            return self._argon2.verify(password_hash, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):
            raise WeatherError(
                "a password hash of the table users cannot be read; give the user another password with "
                "`weather user password NAME`"
            ) from None
        finally:
            self._turn.release()


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _is_known(plain: str, name: str) -> bool:
    """Whether little is left without the user's name, common words, characters in order, repetitions and digits."""
    if len(set(plain)) <= _FEW_CHARACTERS or _REPEATED.fullmatch(plain):
        return True
    rest = plain
    for word in sorted((name, *_COMMON), key=len, reverse=True):
        if len(word) >= _SHORTEST_WORD or rest.strip(_AROUND) == word:
            rest = rest.replace(word, "")
    for row in _IN_ORDER:
        for length in range(len(row), _SHORTEST_RUN - 1, -1):
            for start in range(len(row) - length + 1):
                rest = rest.replace(row[start : start + length], "")
    return rest != plain and len(rest.strip(_AROUND)) < _LEAST_LEFT
